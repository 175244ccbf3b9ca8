"""Where the time of a run went, leg by leg."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Final, NamedTuple

from .story import Run

LEGS: Final = (
    "the dispatcher has read and checked it",
    "it is a job in Redis, and a worker has taken it",
    "the pipeline's nodes have run",
    "nodes told, job closed in Redis, result published",
    "the recorder has it on disk",
)


class Leg(NamedTuple):
    """One part of the way, with its usual and its long duration in milliseconds."""

    what: str
    median_ms: float
    p95_ms: float


def legs(runs: Iterable[Run]) -> list[Leg]:
    """Measure each leg over all runs that are remembered."""
    ways = [_way(run) for run in runs if run.result and run.recorded_at]
    durations = [[later - earlier for earlier, later in pairwise(way)] for way in ways]
    columns = zip(*durations, strict=True)
    return [
        Leg(what, percentile(column, 50), percentile(column, 95)) for what, column in zip(LEGS, columns, strict=False)
    ]


def since(run: Run, at: datetime | None) -> float:
    """Return how long after the message something was, in milliseconds; never less than nothing."""
    return max(0.0, (at - run.published_at).total_seconds() * 1000) if at else 0.0


def percentile(values: Sequence[float], percent: int) -> float:
    return sorted(values)[min(len(values) * percent // 100, len(values) - 1)]


def _way(run: Run) -> list[float]:
    """Milliseconds since the message at each stage. The services took theirs by the same machine's clock."""
    assert run.result is not None
    stages = (run.result.accepted_at, run.result.started_at, run.result.finished_at, run.result_at, run.recorded_at)
    return [0.0, *(since(run, at) for at in stages)]
