"""The table of runs: one row per run, whatever was heard of it and in whatever order."""

from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec
import sqlalchemy as sql

from fpbus.schemas import ListRuns, PipelineStats, RunRecord

from .database import Insert, Utc, insert, metadata
from .handlers import RunRow, utc

runs: Final = sql.Table(
    "runs",
    metadata,
    sql.Column("run_id", sql.String, primary_key=True),
    sql.Column("pipeline", sql.String, nullable=False),
    sql.Column("state", sql.String, nullable=False),
    sql.Column("attempt", sql.Integer, nullable=False),
    sql.Column("at", Utc, nullable=False),
    sql.Column("accepted_at", Utc),
    sql.Column("started_at", Utc),
    sql.Column("finished_at", Utc),
    sql.Column("duration_s", sql.Double),
    sql.Column("runner", sql.Text),
    sql.Column("key", sql.Text),
    sql.Column("traceparent", sql.Text),
    sql.Column("outputs", sql.Text),
    sql.Column("error", sql.Text),
    sql.Index("runs_by_time", "at"),
    sql.Index("runs_by_pipeline_and_time", "pipeline", "at"),
    sql.Index("runs_by_state_and_time", "state", "at"),
    sql.Index("runs_by_pipeline_and_end", "pipeline", "finished_at"),
)
_KEPT: Final = RunRow.__struct_fields__
_SHOWN: Final = RunRecord.__struct_fields__
_LISTED: Final = tuple(name for name in _SHOWN if name != "outputs")
_FIND: Final = sql.select(*[runs.c[name] for name in _KEPT]).where(
    runs.c.run_id.in_(sql.bindparam("run_ids", expanding=True))
)


def find(connection: sql.Connection, run_ids: Collection[str]) -> dict[str, RunRow]:
    """Return the rows of those runs that are known."""
    found = connection.execute(_FIND, {"run_ids": list(run_ids)})
    return {row.run_id: row for row in map(_row, found)}


def put(connection: sql.Connection, rows: Collection[RunRow]) -> None:
    """Insert or replace rows. Safe to repeat."""
    if not rows:
        return
    values = [msgspec.structs.asdict(row) | {"duration_s": row.duration_s} for row in rows]
    connection.execute(_put_statement(connection.dialect.name), values)


@lru_cache
def _put_statement(dialect: str) -> Insert:
    """Build the upsert once: building costs more than executing."""
    new = insert(dialect, runs)
    same_end = sql.and_(runs.c.state == new.excluded.state, runs.c.attempt == new.excluded.attempt)
    goes_on = sql.and_(runs.c.finished_at.is_(None), runs.c.attempt <= new.excluded.attempt)
    return new.on_conflict_do_update(
        index_elements=[runs.c.run_id],
        set_={column.name: new.excluded[column.name] for column in runs.c if not column.primary_key},
        # The rows were folded with what the table held; whoever wrote in between must not be undone.
        where=sql.or_(goes_on, same_end),
    )


def last_finished(connection: sql.Connection, pipeline: str) -> RunRow | None:
    """Return the run of a pipeline that ended last."""
    ended = _select(_KEPT).where(runs.c.pipeline == pipeline, runs.c.finished_at.is_not(None))
    line = connection.execute(ended.order_by(runs.c.finished_at.desc()).limit(1)).first()
    return None if line is None else _row(line)


def list_runs(connection: sql.Connection, query: ListRuns) -> list[RunRecord]:
    """Return runs, newest first, without their outputs: ten thousand of those would fit no message."""
    listing = _select(_LISTED).where(*_conditions(query)).order_by(runs.c.at.desc(), runs.c.run_id.desc())
    page = listing.limit(query.limit).offset(query.offset)
    return [_record(_LISTED, line) for line in connection.execute(page)]


def show_run(connection: sql.Connection, run_id: str) -> RunRecord | None:
    """Return all that is known of one run."""
    line = connection.execute(_select(_SHOWN).where(runs.c.run_id == run_id)).first()
    return None if line is None else _record(_SHOWN, line)


def stats(connection: sql.Connection, pipeline: str | None) -> list[PipelineStats]:
    """Return the counts of one pipeline, or of all, by name."""
    counted = sql.select(
        runs.c.pipeline,
        runs.c.state,
        sql.func.count().label("runs"),
        sql.func.count(runs.c.duration_s).label("timed"),
        sql.func.sum(runs.c.duration_s).label("seconds"),
        sql.func.max(runs.c.finished_at).label("last_finished_at"),
    )
    counted = counted.group_by(runs.c.pipeline, runs.c.state).order_by(runs.c.pipeline, runs.c.state)
    if pipeline is not None:
        counted = counted.where(runs.c.pipeline == pipeline)
    by_pipeline: dict[str, list[Any]] = {}
    for line in connection.execute(counted):
        by_pipeline.setdefault(line.pipeline, []).append(line)
    return [_sum_up(name, lines) for name, lines in by_pipeline.items()]


def _select(names: Iterable[str]) -> "sql.Select[*tuple[Any, ...]]":
    return sql.select(*[runs.c[name] for name in names])


def _conditions(query: ListRuns) -> Iterable[sql.ColumnElement[bool]]:
    for name in ("pipeline", "state", "key"):
        if (wanted := getattr(query, name)) is not None:
            yield runs.c[name] == wanted
    if query.since is not None:
        yield runs.c.at >= utc(query.since)
    if query.until is not None:
        yield runs.c.at <= utc(query.until)


def _row(line: Sequence[Any]) -> RunRow:
    return msgspec.convert(dict(zip(_KEPT, line, strict=True)), RunRow)


def _record(names: Sequence[str], line: Sequence[Any]) -> RunRecord:
    values: dict[str, Any] = dict(zip(names, line, strict=True))
    for name in ("outputs", "error"):
        if values.get(name) is not None:
            values[name] = msgspec.json.decode(values[name])
    return msgspec.convert(values, RunRecord)


def _sum_up(pipeline: str, lines: list[Any]) -> PipelineStats:
    timed = sum(line.timed for line in lines)
    return PipelineStats(
        pipeline=pipeline,
        runs=sum(line.runs for line in lines),
        states={line.state: line.runs for line in lines},
        mean_duration_s=sum(line.seconds or 0.0 for line in lines) / timed if timed else None,
        last_finished_at=max((line.last_finished_at for line in lines if line.last_finished_at), default=None),
    )
