"""Bring a history that an older version made up to date: what is missing is added, and nothing is taken away.

Only the recorder that holds the lease does it, in the transaction in which it took the lease.
"""

from typing import Final

import sqlalchemy as sql
from sqlalchemy.schema import CreateColumn

from .history import runs
from .tallies import Ended, add, tallies

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
    facts = (runs.c.pipeline, runs.c.state, runs.c.finished_at, runs.c.duration_s)
    ended = sql.select(*facts).where(runs.c.finished_at.is_not(None))
    page_wise = {"yield_per": _AT_A_TIME}  # never all of them in memory
    for page in connection.execute(ended, execution_options=page_wise).partitions():
        add(connection, [(1, Ended(*line)) for line in page])
