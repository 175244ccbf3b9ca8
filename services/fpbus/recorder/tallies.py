"""Counts of ended runs by pipeline, hour, state and duration, kept beside the runs in the same transactions.

Asking for sums then costs the same however many runs there are. Durations are counted in buckets, each 5 % wider
than the one before, so a percentile is off by at most 2.5 %.
"""

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import sqlalchemy as sql

from fpbus.schemas import TERMINAL, PipelineStats

from .database import Utc, insert, metadata
from .handlers import RunRow

_LEAST_S: Final = 1e-6
_GROWTH: Final = 1.05
_MOST: Final = 1_000
_UNTIMED: Final = -1

tallies: Final = sql.Table(
    "tallies",
    metadata,
    sql.Column("pipeline", sql.String, primary_key=True),
    sql.Column("hour", Utc, primary_key=True),
    sql.Column("state", sql.String, primary_key=True),
    sql.Column("bucket", sql.Integer, primary_key=True),
    sql.Column("runs", sql.BigInteger, nullable=False),
    sql.Column("seconds", sql.Double, nullable=False),
    sql.Column("last_finished_at", Utc, nullable=False),
)


class Key(NamedTuple):
    """What is counted together. The bucket of a run that never started is -1."""

    pipeline: str
    hour: datetime
    state: str
    bucket: int


class Share(NamedTuple):
    """What some runs add to a count, or, below zero, take from it."""

    runs: int
    seconds: float
    last_finished_at: datetime


def count(connection: sql.Connection, gone: Iterable[RunRow], come: Iterable[RunRow]) -> None:
    """Count runs as they are now, `come`, and no more as they were before, `gone`: those of them that have ended."""
    shares: dict[Key, Share] = {}
    for sign, rows in ((-1, gone), (1, come)):
        for row in rows:
            if row.state in TERMINAL and row.finished_at is not None:
                _add(shares, row, row.finished_at, sign)
    changed = {key: share for key, share in shares.items() if share.runs or share.seconds}
    if changed:
        put_shares(connection, changed.items())


def put_shares(connection: sql.Connection, shares: Iterable[tuple[Key, Share]]) -> None:
    """Add to the counts."""
    new = insert(connection.dialect.name, tallies)
    later = new.excluded.last_finished_at > tallies.c.last_finished_at
    statement = new.on_conflict_do_update(
        index_elements=list(tallies.primary_key.columns),
        set_={
            "runs": tallies.c.runs + new.excluded.runs,
            "seconds": tallies.c.seconds + new.excluded.seconds,
            "last_finished_at": sql.case((later, new.excluded.last_finished_at), else_=tallies.c.last_finished_at),
        },
    )
    connection.execute(statement, [{**key._asdict(), **share._asdict()} for key, share in shares])


def key_of(pipeline: str, state: str, finished_at: datetime, duration_s: float | None) -> Key:
    return Key(pipeline, finished_at.replace(minute=0, second=0, microsecond=0), str(state), bucket_of(duration_s))


def bucket_of(duration_s: float | None) -> int:
    """Return the bucket of a duration in seconds."""
    if duration_s is None:
        return _UNTIMED
    return 0 if duration_s <= _LEAST_S else min(_MOST, 1 + int(math.log(duration_s / _LEAST_S, _GROWTH)))


def percentile(counts: Sequence[tuple[int, int]], share: float) -> float | None:
    """Return the duration that `share` of the runs do not exceed, of counts by bucket; None when none was timed."""
    timed = sorted((bucket, runs) for bucket, runs in counts if bucket != _UNTIMED and runs > 0)
    left = math.ceil(share * sum(runs for _, runs in timed))
    for bucket, runs in timed:
        left -= runs
        if left <= 0:
            return _LEAST_S * _GROWTH ** (bucket - 0.5) if bucket else _LEAST_S
    return None


def sums(
    connection: sql.Connection, unended: Iterable[tuple[str, str, int]], pipeline: str | None, since: datetime | None
) -> list[PipelineStats]:
    """Sum up each pipeline, by name; `unended` are counts of runs that have not ended, by pipeline and state."""
    wanted = sql.select(
        tallies.c.pipeline,
        tallies.c.state,
        tallies.c.bucket,
        sql.func.sum(tallies.c.runs).label("runs"),
        sql.func.sum(tallies.c.seconds).label("seconds"),
        sql.func.max(tallies.c.last_finished_at).label("last_finished_at"),
    ).group_by(tallies.c.pipeline, tallies.c.state, tallies.c.bucket)
    if pipeline is not None:
        wanted = wanted.where(tallies.c.pipeline == pipeline)
    if since is not None:
        wanted = wanted.where(tallies.c.hour >= since.replace(minute=0, second=0, microsecond=0))
    ended: dict[str, list[Any]] = {}
    for line in connection.execute(wanted):
        if line.runs > 0:
            ended.setdefault(line.pipeline, []).append(line)
    waiting: dict[str, dict[str, int]] = {}
    for name, state, runs in unended:
        waiting.setdefault(name, {})[state] = runs
    return [_sum_up(name, ended.get(name, []), waiting.get(name, {})) for name in sorted({*ended, *waiting})]


def _add(shares: dict[Key, Share], row: RunRow, finished_at: datetime, sign: int) -> None:
    key = key_of(row.pipeline, row.state, finished_at, row.duration_s)
    before = shares.get(key, Share(0, 0.0, finished_at))
    seconds = before.seconds + sign * (row.duration_s or 0.0)
    shares[key] = Share(before.runs + sign, seconds, max(before.last_finished_at, finished_at))


def _sum_up(pipeline: str, lines: list[Any], unended: dict[str, int]) -> PipelineStats:
    states = dict(unended)
    for line in lines:
        states[line.state] = states.get(line.state, 0) + line.runs
    counts = [(line.bucket, line.runs) for line in lines]
    timed = sum(runs for bucket, runs in counts if bucket != _UNTIMED)
    failed = states.get("failed", 0) + states.get("dead", 0)
    tried = failed + states.get("succeeded", 0)
    return PipelineStats(
        pipeline=pipeline,
        runs=sum(states.values()),
        states=dict(sorted(states.items())),
        failure_rate=failed / tried if tried else None,
        mean_duration_s=max(0.0, sum(line.seconds for line in lines)) / timed if timed else None,
        p50_s=percentile(counts, 0.50),
        p95_s=percentile(counts, 0.95),
        p99_s=percentile(counts, 0.99),
        last_finished_at=max((line.last_finished_at for line in lines), default=None),
    )
