"""All scenarios, about in the order of how long they take."""

from chaos.scenario import Scenario
from chaos.scenarios import (
    brokers,
    bursts,
    dispatchers,
    freezes,
    hostile_payloads,
    moments,
    network,
    pill,
    recorder,
    redis_trouble,
    rolling,
    runners,
    sizes,
)

SCENARIOS: tuple[Scenario, ...] = (
    *pill.SCENARIOS,
    *hostile_payloads.SCENARIOS,
    *sizes.SCENARIOS,
    *rolling.SCENARIOS,
    *redis_trouble.SCENARIOS,
    *network.SCENARIOS,
    *recorder.SCENARIOS,
    *dispatchers.SCENARIOS,
    *brokers.SCENARIOS,
    *bursts.SCENARIOS,
    *moments.SCENARIOS,
    *runners.SCENARIOS,
    *freezes.SCENARIOS,
)


def all_scenarios() -> dict[str, Scenario]:
    """Return every scenario by name."""
    return {scenario.name: scenario for scenario in SCENARIOS}
