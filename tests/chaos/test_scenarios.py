"""The scenarios with small figures: every promise, each broken into once or a few times."""

from pathlib import Path

import pytest

from chaos.place import Place
from chaos.scenario import Scenario
from chaos.scenarios import SCENARIOS

SEED = 7


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_what_is_promised_holds(scenario: Scenario, tmp_path: Path) -> None:
    told: list[str] = []
    place = Place(tmp_path, SEED, told.append, shipped_broker=scenario.shipped_broker)
    try:
        outcome = scenario.run(place, **scenario.short)
    finally:
        place.close()

    assert outcome.kept, f"seed {SEED}: {outcome}\n{told}\n{place.stack.logs()}"
