"""Counts of ended runs by pipeline, hour, state and duration, kept beside the runs in the same transactions.

Each run counts in its hour and in the sums of all time, so that these cost the same however many runs there are.
Durations are counted in buckets, each 10 % wider than the one before: a percentile is off by at most 5 %.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple

import sqlalchemy as sql

from fpbus.schemas import TERMINAL, PipelineStats

from .database import Insert, Utc, insert, metadata
from .handlers import RunRow

_LEAST_S: Final = 1e-6
_GROWTH: Final = 1.1
_MOST: Final = 1_000
_UNTIMED: Final = -1
#: Stands for all hours.
_EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)

tallies: Final = sql.Table(
    "tallies",
    metadata,
    sql.Column("hour", Utc, primary_key=True),  # first: what is counted now, and asked for, lies side by side
    sql.Column("pipeline", sql.String, primary_key=True),
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


class Ended(NamedTuple):
    """What counts of a run that has ended."""

    pipeline: str
    state: str
    finished_at: datetime
    duration_s: float | None


class Share(NamedTuple):
    """What some runs add to a count, or, below zero, take from it."""

    runs: int
    seconds: float
    last_finished_at: datetime


def count(connection: sql.Connection, gone: Iterable[RunRow], come: Iterable[RunRow]) -> None:
    """Count runs as they are now, `come`, and no more as they were before, `gone`: those of them that have ended."""
    signed = [*((-1, ended) for ended in _ended(gone)), *((1, ended) for ended in _ended(come))]
    add(connection, signed)


def add(connection: sql.Connection, signed: Iterable[tuple[int, Ended]]) -> None:
    """Add runs (1) to the counts, or take them off (-1)."""
    shares: dict[Key, Share] = {}
    for sign, ended in signed:
        hour = ended.finished_at.replace(minute=0, second=0, microsecond=0)
        for period in (hour, _EVER):
            key = Key(ended.pipeline, period, ended.state, bucket_of(ended.duration_s))
            before = shares.get(key, Share(0, 0.0, ended.finished_at))
            seconds = before.seconds + sign * (ended.duration_s or 0.0)
            shares[key] = Share(before.runs + sign, seconds, max(before.last_finished_at, ended.finished_at))
    changed = [{**key._asdict(), **share._asdict()} for key, share in shares.items() if share.runs or share.seconds]
    if changed:
        connection.execute(_add_statement(connection.dialect.name), changed)


@lru_cache
def _add_statement(dialect: str) -> Insert:
    new = insert(dialect, tallies)
    later = new.excluded.last_finished_at > tallies.c.last_finished_at
    return new.on_conflict_do_update(
        index_elements=list(tallies.primary_key.columns),
        set_={
            "runs": tallies.c.runs + new.excluded.runs,
            "seconds": tallies.c.seconds + new.excluded.seconds,
            "last_finished_at": sql.case((later, new.excluded.last_finished_at), else_=tallies.c.last_finished_at),
        },
    )


def _ended(rows: Iterable[RunRow]) -> Iterator[Ended]:
    for row in rows:
        if row.state in TERMINAL and row.finished_at is not None:
            yield Ended(row.pipeline, str(row.state), row.finished_at, row.duration_s)


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
    since_hour = since and since.replace(minute=0, second=0, microsecond=0)
    chosen = tallies.c.hour == _EVER if since_hour is None else tallies.c.hour >= since_hour
    if pipeline is not None:
        chosen = sql.and_(chosen, tallies.c.pipeline == pipeline)
    by_bucket = sql.select(
        tallies.c.pipeline,
        tallies.c.state,
        tallies.c.bucket,
        sql.cast(sql.func.sum(tallies.c.runs), sql.BigInteger),  # PostgreSQL sums to decimals
        sql.func.sum(tallies.c.seconds),
    ).group_by(tallies.c.pipeline, tallies.c.state, tallies.c.bucket)
    ended: dict[str, list[Line]] = {}
    for name, *line in connection.execute(by_bucket.where(chosen)):
        if line[2] > 0:
            ended.setdefault(name, []).append(Line(*line))
    last = sql.select(tallies.c.pipeline, sql.func.max(tallies.c.last_finished_at)).group_by(tallies.c.pipeline)
    last_ends: dict[str, datetime] = {line[0]: line[1] for line in connection.execute(last.where(chosen))}
    waiting: dict[str, dict[str, int]] = {}
    for name, state, runs in unended:
        waiting.setdefault(name, {})[state] = runs
    return [
        _sum_up(name, ended.get(name, []), waiting.get(name, {}), last_ends.get(name) if name in ended else None)
        for name in sorted({*ended, *waiting})
    ]


class Line(NamedTuple):
    """The sum of one bucket."""

    state: str
    bucket: int
    runs: int
    seconds: float


def _sum_up(pipeline: str, lines: list[Line], unended: dict[str, int], last_end: datetime | None) -> PipelineStats:
    states = dict(unended)
    buckets: dict[int, int] = {}
    for line in lines:
        states[line.state] = states.get(line.state, 0) + line.runs
        buckets[line.bucket] = buckets.get(line.bucket, 0) + line.runs
    counts = list(buckets.items())
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
        last_finished_at=last_end,
    )
