"""All scenarios, the shortest first."""

from chaos.scenario import Scenario
from chaos.scenarios import moments, pill

SCENARIOS: tuple[Scenario, ...] = (
    pill.SCENARIO,
    *moments.SCENARIOS,
)


def all_scenarios() -> dict[str, Scenario]:
    """Return every scenario by name."""
    return {scenario.name: scenario for scenario in SCENARIOS}
