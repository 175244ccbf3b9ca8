"""Bring a history that an older version made up to date: what is missing is added, and nothing is taken away.

Only the recorder that holds the lease does it, in the transaction in which it took the lease.
"""

from typing import Any, Final

import sqlalchemy as sql
from sqlalchemy.schema import CreateColumn

from .history import runs
from .tallies import Key, Share, key_of, put_shares, tallies

_AT_A_TIME: Final = 10_000


def upgrade(connection: sql.Connection) -> None:
    """Add columns and indexes that are missing, and count the runs when they were never counted. Safe to repeat."""
    there = {column["name"] for column in sql.inspect(connection).get_columns(runs.name)}
    for column in runs.columns:
        if column.name not in there:
            words = CreateColumn(column).compile(connection)
            connection.execute(sql.text(f"ALTER TABLE {runs.name} ADD COLUMN {words}"))
    for index in runs.indexes:
        index.create(connection, checkfirst=True)
    if connection.execute(sql.select(tallies.c.runs).limit(1)).first() is None:
        _count_all(connection)


def _count_all(connection: sql.Connection) -> None:
    ended = sql.select(runs.c.pipeline, runs.c.state, runs.c.finished_at, runs.c.duration_s)
    lines: Any = connection.execute(ended.where(runs.c.finished_at.is_not(None)))
    shares: dict[Key, Share] = {}
    for page in lines.partitions(_AT_A_TIME):
        for pipeline, state, finished_at, duration_s in page:
            key = key_of(pipeline, state, finished_at, duration_s)
            before = shares.get(key, Share(0, 0.0, finished_at))
            seconds = before.seconds + (duration_s or 0.0)
            shares[key] = Share(before.runs + 1, seconds, max(before.last_finished_at, finished_at))
    if shares:
        put_shares(connection, shares.items())
