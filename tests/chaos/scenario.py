"""What a scenario is, and what comes of one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from chaos.place import Place
from chaos.tally import Tally

Facts = dict[str, int | float | str]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What the checker counted, what else was measured, and each promise that was broken, in words."""

    tally: Tally
    facts: Facts = {}
    broken: list[str] = []

    @property
    def kept(self) -> bool:
        return not self.broken


@dataclass(frozen=True)
class Scenario:
    """One way to hurt the system, and what must be true after it.

    `full` are the figures of the long set, `short` those that CI has time for; both are arguments of `run`.
    """

    name: str
    promise: str
    run: Callable[..., Outcome]
    full: Mapping[str, int]
    short: Mapping[str, int] = field(default_factory=dict[str, int])
    shipped_broker: bool = False


def judge(tally: Tally, facts: Facts, promises: Mapping[str, bool]) -> Outcome:
    """Judge a scenario by its tally, and by promises of its own, each in words."""
    counts = {"lost": tally.lost, "stuck": tally.stuck, "ghost": tally.ghost, "duplicate": tally.duplicate}
    counts |= {"left over": tally.left_over}
    broken = [f"{count} {name}" for name, count in counts.items() if count]
    broken += [f"not true: {promise}" for promise, kept in promises.items() if not kept]
    return Outcome(tally=tally, facts=facts, broken=broken)


__all__ = ["Facts", "Outcome", "Place", "Scenario", "judge"]
