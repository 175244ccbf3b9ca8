"""The checker, after Jepsen's total-queue: of what was asked for, what came of it?

It compares four accounts that know nothing of each other: what the publisher was promised, what an observer heard on
the bus, what the history's database holds, and what the pipelines wrote down themselves.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import msgspec

from chaos.observer import End

TERMINAL = frozenset({"succeeded", "failed", "cancelled", "dead"})


@dataclass(frozen=True)
class Evidence:
    """`asked` are the runs that were asked for, `promised` those of them that must not be lost.

    `records` has state and attempt of each run in the history, `executions` how often a run was begun, `left` what
    still lies in Redis, `recoveries` seconds from a fault until what it hit went on.
    """

    asked: AbstractSet[str]
    promised: AbstractSet[str]
    records: Mapping[str, tuple[str, int]]
    ends: Mapping[str, AbstractSet[End]]
    executions: Mapping[str, int]
    left: int
    recoveries: Sequence[float]


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """What the checker counts.

    `lost`: promised, and no account knows of them. `stuck`: known, and without an end. `ghost`: nobody asked for them.
    `duplicate`: with two ends, or begun more often than their attempts say. `left_over`: entries in Redis that nobody
    will use. `recovered`: ended after an attempt that was lost.
    """

    asked: int
    recorded: int
    executions: int
    lost: int
    stuck: int
    ghost: int
    duplicate: int
    left_over: int
    recovered: int
    states: dict[str, int]
    recovery_p50_s: float | None = None
    recovery_p95_s: float | None = None
    recovery_max_s: float | None = None

    @property
    def clean(self) -> bool:
        return self.lost == self.stuck == self.ghost == self.duplicate == self.left_over == 0


def tally(evidence: Evidence) -> Tally:
    ended = {run_id for run_id, (state, _) in evidence.records.items() if state in TERMINAL}
    known = set(evidence.records) | set(evidence.ends) | set(evidence.executions)
    recoveries = sorted(evidence.recoveries)
    return Tally(
        asked=len(evidence.asked),
        recorded=len(ended),
        executions=sum(evidence.executions.values()),
        lost=len(evidence.promised - known),
        stuck=len((known & evidence.asked) - ended),
        ghost=len(known - evidence.asked),
        duplicate=len(_duplicates(evidence)),
        left_over=evidence.left,
        recovered=sum(evidence.records[run_id][1] > 1 for run_id in ended),
        states=dict(sorted(Counter(evidence.records[run_id][0] for run_id in ended).items())),
        recovery_p50_s=_quantile(recoveries, 0.50),
        recovery_p95_s=_quantile(recoveries, 0.95),
        recovery_max_s=_quantile(recoveries, 1.0),
    )


def _duplicates(evidence: Evidence) -> set[str]:
    two_ends = {run_id for run_id, ends in evidence.ends.items() if len(ends) > 1}
    unseen = {
        run_id
        for run_id, times in evidence.executions.items()
        if times > max(1, evidence.records.get(run_id, ("", 1))[1])
    }
    return two_ends | unseen


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    """Return the smallest value that so many are not above."""
    if not ordered:
        return None
    return round(ordered[math.ceil(len(ordered) * share) - 1], 2)
