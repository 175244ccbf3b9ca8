"""The table of runs: one row per run, whatever was heard of it and in whatever order."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import msgspec
import sqlalchemy as sql
from sqlalchemy.dialects.postgresql import VARCHAR

from fpbus.schemas import ListRuns, PipelineStats, RunRecord, run_id_prefix

from .database import Insert, Utc, execute_many, insert_many, metadata
from .handlers import RunRow, utc
from .tallies import count, sums

runs: Final = sql.Table(
    "runs",
    metadata,
    # Ids are ASCII, and compared as such: the ids of a schedule's runs lie between two of them.
    sql.Column("run_id", sql.String().with_variant(VARCHAR(collation="C"), "postgresql"), primary_key=True),
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
    sql.Column("retry_of", sql.Text),
    sql.Column("after", sql.Text),
    sql.Column("traceparent", sql.Text),
    sql.Column("request", sql.Text),
    sql.Column("outputs", sql.Text),
    sql.Column("account", sql.Text),
    sql.Column("error", sql.Text),
    sql.Column("timeline", sql.Text),
    sql.Index("runs_by_time", "at"),
    sql.Index("runs_by_pipeline_and_time", "pipeline", "at"),
    sql.Index("runs_by_pipeline_state_and_time", "pipeline", "state", "at"),
    sql.Index("runs_by_state_and_time", "state", "at"),
    sql.Index("runs_by_pipeline_and_end", "pipeline", "finished_at"),
)
for _name, _columns, _where in (
    ("runs_by_key_and_time", (runs.c.key, runs.c.at), runs.c.key.is_not(None)),
    ("runs_that_have_not_ended", (runs.c.pipeline, runs.c.state), runs.c.finished_at.is_(None)),
):
    sql.Index(_name, *_columns, sqlite_where=_where, postgresql_where=_where)

_KEPT: Final = RunRow.__struct_fields__
_SHOWN: Final = (*(name for name in RunRecord.__struct_fields__ if name in runs.c), "account")
_LISTED: Final = tuple(name for name in _SHOWN if name not in {"outputs", "request", "timeline", "account"})
_JSON: Final = ("outputs", "account", "error", "request", "timeline")
_FIND: Final = sql.select(*[runs.c[name] for name in _KEPT]).where(
    runs.c.run_id.in_(sql.bindparam("run_ids", expanding=True))
)

_LAST_END: Final = sql.select(sql.func.max(runs.c.finished_at)).where(runs.c.pipeline == sql.bindparam("name"))


def find(connection: sql.Connection, run_ids: Collection[str]) -> dict[str, RunRow]:
    """Return the rows of those runs that are known."""
    found = connection.execute(_FIND, {"run_ids": list(run_ids)})
    return {row.run_id: row for row in map(_row, found)}


def put(connection: sql.Connection, rows: Collection[RunRow], known: Mapping[str, RunRow]) -> None:
    """Insert or replace rows, and count them; `known` are those runs as the table had them. Safe to repeat."""
    if not rows:
        return
    count(connection, [known[row.run_id] for row in rows if row.run_id in known], rows)
    execute_many(connection, _put_statement(connection.dialect.name), [_values(row) for row in rows])


@lru_cache
def _put_statement(dialect: str) -> Insert:
    """Build the upsert once: building costs more than executing."""
    new = insert_many(dialect, runs)
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
    """Return runs, newest first, without what they were given and gave: ten thousand of those would fit no message.

    Raises `LookupError` for a page that begins at a run that is not there.
    """
    listing = _select(_LISTED).where(*_conditions(query)).order_by(runs.c.at.desc(), runs.c.run_id.desc())
    if query.older_than is not None:
        listing = listing.where(_older(connection, query.older_than))
    page = listing.limit(query.limit).offset(query.offset)
    return [_record(_LISTED, line) for line in connection.execute(page)]


def _older(connection: sql.Connection, run_id: str) -> sql.ColumnElement[bool]:
    at = connection.execute(sql.select(runs.c.at).where(runs.c.run_id == run_id)).scalar()
    if at is None:
        raise LookupError(run_id)
    return sql.and_(runs.c.at <= at, sql.or_(runs.c.at < at, runs.c.run_id < run_id))


def show_run(connection: sql.Connection, run_id: str) -> RunRecord | None:
    """Return all that is known of one run."""
    line = connection.execute(_select(_SHOWN).where(runs.c.run_id == run_id)).first()
    return None if line is None else _record(_SHOWN, line)


def stats(connection: sql.Connection, pipeline: str | None, since: datetime | None) -> list[PipelineStats]:
    """Return the sums of one pipeline, or of all, by name."""
    unended = sql.select(runs.c.pipeline, runs.c.state, sql.func.count()).where(runs.c.finished_at.is_(None))
    if pipeline is not None:
        unended = unended.where(runs.c.pipeline == pipeline)
    if since is not None:
        unended = unended.where(runs.c.at >= utc(since))
    lines = connection.execute(unended.group_by(runs.c.pipeline, runs.c.state))
    open_runs = [(name, state, number) for name, state, number in lines]
    found = sums(connection, open_runs, pipeline, utc(since) if since else None)
    return [_with_last_end(connection, each, since) for each in found]


def _with_last_end(connection: sql.Connection, stats: PipelineStats, since: datetime | None) -> PipelineStats:
    """Add when the last run of a pipeline ended: the index knows it, and its counts would have to be kept for it."""
    last: datetime | None = connection.scalar(_LAST_END, {"name": stats.pipeline})
    if last is not None and since is not None and last < utc(since).replace(minute=0, second=0, microsecond=0):
        return stats
    return msgspec.structs.replace(stats, last_finished_at=last)


def _select(names: Iterable[str]) -> "sql.Select[*tuple[Any, ...]]":
    return sql.select(*[runs.c[name] for name in names])


def _conditions(query: ListRuns) -> Iterable[sql.ColumnElement[bool]]:
    for name in ("pipeline", "state", "key"):
        if (wanted := getattr(query, name)) is not None:
            yield runs.c[name] == wanted
    if query.schedule is not None:
        prefix = run_id_prefix(query.schedule)
        yield runs.c.run_id >= f"{prefix}0"
        yield runs.c.run_id < f"{prefix}:"  # comes behind 9
        yield runs.c.run_id.like(prefix.replace("_", r"\_") + "_" * len("20260329T010000Z-cbbb089c826c"), escape="\\")
    if query.since is not None:
        yield runs.c.at >= utc(query.since)
    if query.until is not None:
        yield runs.c.at <= utc(query.until)


def _values(row: RunRow) -> dict[str, Any]:
    timeline = msgspec.json.encode(row.timeline).decode()
    return {**msgspec.structs.asdict(row), "duration_s": row.duration_s, "timeline": timeline}


def _row(line: Sequence[Any]) -> RunRow:
    values: dict[str, Any] = dict(zip(_KEPT, line, strict=True))
    values["timeline"] = msgspec.json.decode(values["timeline"] or "[]")
    return msgspec.convert(values, RunRow)


def _record(names: Sequence[str], line: Sequence[Any]) -> RunRecord:
    values: dict[str, Any] = dict(zip(names, line, strict=True))
    for name in _JSON:
        if values.get(name) is None:
            values.pop(name, None)
        else:
            values[name] = msgspec.json.decode(values[name])
    values |= values.pop("account", {})
    return msgspec.convert(values, RunRecord)
