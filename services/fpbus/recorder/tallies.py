"""Counts of ended runs by pipeline, state and duration, kept beside the runs in the same transactions.

Each run counts in its hour, its day and its month. To sum up from some hour on takes hours up to the nearest begin of a
day, days up to the nearest begin of a month, and months; when a begin lies before, what is between is taken off. So few
rows are read that it matters little how many runs there are.
Durations are counted in buckets, each 10 % wider than the one before: a percentile is off by at most 5 %.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, NamedTuple

import sqlalchemy as sql

from fpbus.schemas import TERMINAL, PipelineStats

from .database import Insert, Utc, execute_many, insert_many, metadata
from .handlers import RunRow

_LEAST_S: Final = 1e-6
_GROWTH: Final = 1.1
_MOST: Final = 1_000
_UNTIMED: Final = -1
_LATEST: Final = datetime(9998, 1, 1, tzinfo=UTC)

tallies: Final = sql.Table(
    "run_tallies",
    metadata,
    # The first two: what is counted now, and asked for, lies side by side.
    sql.Column("period", sql.String, primary_key=True),
    sql.Column("begins", Utc, primary_key=True),
    sql.Column("pipeline", sql.String, primary_key=True),
    sql.Column("state", sql.String, primary_key=True),
    sql.Column("bucket", sql.Integer, primary_key=True),
    sql.Column("runs", sql.BigInteger, nullable=False),
    sql.Column("seconds", sql.Double, nullable=False),
    sqlite_with_rowid=False,
)


class Key(NamedTuple):
    """What is counted together. The bucket of a run that never started is -1."""

    period: str
    begins: datetime
    pipeline: str
    state: str
    bucket: int


class Ended(NamedTuple):
    """What counts of a run that has ended."""

    pipeline: str
    state: str
    finished_at: datetime
    duration_s: float | None


#: Which counts, and whether they are added (1) or taken off (-1).
Span = tuple[int, tuple[sql.ColumnElement[bool], ...]]


class Share(NamedTuple):
    """What some runs add to a count, or, below zero, take from it."""

    runs: int
    seconds: float


_NONE: Final = Share(0, 0.0)


def count(connection: sql.Connection, gone: Iterable[RunRow], come: Iterable[RunRow]) -> None:
    """Count runs as they are now, `come`, and no more as they were before, `gone`: those of them that have ended."""
    signed = [*((-1, ended) for ended in _ended(gone)), *((1, ended) for ended in _ended(come))]
    add(connection, signed)


def add(connection: sql.Connection, signed: Iterable[tuple[int, Ended]]) -> None:
    """Add runs (1) to the counts, or take them off (-1)."""
    by_hour: dict[Key, Share] = {}
    for sign, ended in signed:
        hour = ended.finished_at.replace(minute=0, second=0, microsecond=0)
        key = Key("hour", hour, ended.pipeline, ended.state, bucket_of(ended.duration_s))
        runs, seconds = by_hour.get(key, _NONE)
        by_hour[key] = Share(runs + sign, seconds + sign * (ended.duration_s or 0.0))
    shares: dict[Key, Share] = {}
    for key, share in by_hour.items():
        for period, begins in _periods(key.begins):
            wider = key._replace(period=period, begins=begins)
            runs, seconds = shares.get(wider, _NONE)
            shares[wider] = Share(runs + share.runs, seconds + share.seconds)
    changed = [{**key._asdict(), **share._asdict()} for key, share in shares.items() if share.runs or share.seconds]
    if changed:
        execute_many(connection, _add_statement(connection.dialect.name), changed)


@lru_cache
def _add_statement(dialect: str) -> Insert:
    new = insert_many(dialect, tallies)
    return new.on_conflict_do_update(
        index_elements=list(tallies.primary_key.columns),
        set_={
            "runs": tallies.c.runs + new.excluded.runs,
            "seconds": tallies.c.seconds + new.excluded.seconds,
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


def forget_empty(connection: sql.Connection, before: datetime) -> None:
    """Remove the counts of periods that began before then, and of whose runs none is left."""
    none_left = sql.and_(tallies.c.begins < before, tallies.c.runs <= 0)
    connection.execute(sql.delete(tallies).where(tallies.c.period.in_(["hour", "day", "month"]), none_left))


def sums(
    connection: sql.Connection, unended: Iterable[tuple[str, str, int]], pipeline: str | None, since: datetime | None
) -> list[PipelineStats]:
    """Sum up each pipeline, by name, all but when its last run ended.

    `unended` are counts of runs that have not ended, by pipeline and state.
    """
    ended: dict[str, list[Line]] = {}
    for name, *line in connection.execute(_by_bucket(pipeline, since)):
        if line[2] > 0:
            ended.setdefault(name, []).append(Line(*line))
    waiting: dict[str, dict[str, int]] = {}
    for name, state, runs in unended:
        waiting.setdefault(name, {})[state] = runs
    names = sorted({*ended, *waiting})
    return [_sum_up(name, ended.get(name, []), waiting.get(name, {})) for name in names]


def _by_bucket(pipeline: str | None, since: datetime | None) -> "sql.Select[*tuple[Any, ...]]":
    parts = [_signed(sign).where(*conditions) for sign, conditions in _spans(since)]
    parts = parts if pipeline is None else [part.where(tallies.c.pipeline == pipeline) for part in parts]
    counts = sql.union_all(*parts).subquery().c
    return sql.select(
        counts.pipeline,
        counts.state,
        counts.bucket,
        sql.cast(sql.func.sum(counts.runs), sql.BigInteger),  # PostgreSQL sums to decimals
        sql.func.sum(counts.seconds),
    ).group_by(counts.pipeline, counts.state, counts.bucket)


def _signed(sign: int) -> "sql.Select[*tuple[Any, ...]]":
    counts = tallies.c
    runs, seconds = (counts.runs, counts.seconds) if sign > 0 else (-counts.runs, -counts.seconds)
    return sql.select(counts.pipeline, counts.state, counts.bucket, runs.label("runs"), seconds.label("seconds"))


def _spans(since: datetime | None) -> Iterator[Span]:
    """Yield which counts to add, or to take off, so that every run from that hour on counts once."""
    begins, period = tallies.c.begins, tallies.c.period
    if since is None:
        yield 1, (period == "month",)
        return
    hour = min(since, _LATEST).replace(minute=0, second=0, microsecond=0)
    midnight = hour.replace(hour=0)
    day = _nearest(hour, midnight, midnight + timedelta(days=1))
    first = day.replace(day=1)
    month = _nearest(day, first, (first + timedelta(days=32)).replace(day=1))
    yield _between("hour", hour, day)
    yield _between("day", day, month)
    yield 1, (period == "month", begins >= month)


def _between(period: str, begin: datetime, end: datetime) -> Span:
    begins = tallies.c.begins
    first, last = sorted((begin, end))
    return 1 if begin <= end else -1, (tallies.c.period == period, begins >= first, begins < last)


def _nearest(time: datetime, before: datetime, after: datetime) -> datetime:
    return before if time - before <= after - time else after


def _periods(hour: datetime) -> tuple[tuple[str, datetime], ...]:
    day = hour.replace(hour=0)
    return (("hour", hour), ("day", day), ("month", day.replace(day=1)))


class Line(NamedTuple):
    """The sum of one bucket."""

    state: str
    bucket: int
    runs: int
    seconds: float


def _sum_up(pipeline: str, lines: list[Line], unended: dict[str, int]) -> PipelineStats:
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
    )
