"""Who may record: one process at a time, whoever holds the role's lease in the database.

The token is the fence. Whoever writes renews in the same transaction, so a recorder that was frozen, and
replaced meanwhile, finds out before it has changed anything. (Frozen within a transaction it keeps the lock: SQLite's
until it goes on or dies, PostgreSQL's for seconds.)
"""

from typing import Final

import sqlalchemy as sql

from .database import insert, metadata

LEASE_S: Final = 5.0

leases: Final = sql.Table(
    "leases",
    metadata,
    sql.Column("role", sql.String, primary_key=True),
    sql.Column("token", sql.String, nullable=False),
    sql.Column("expires_at", sql.Double, nullable=False),  # seconds since 1970
)


class LeaseLostError(Exception):
    """Another process holds the lease now."""


class Lease:
    """One process' claim to a role. `now` is in seconds since 1970."""

    def __init__(self, role: str, token: str) -> None:
        self._role = role
        self._token = token

    def acquire(self, connection: sql.Connection, now: float) -> bool:
        """Take the lease when nobody holds it, or its holder let it run out."""
        return self._claim(connection, now, leases.c.expires_at < now)

    def renew(self, connection: sql.Connection, now: float) -> None:
        """Keep the lease, also one that has run out while nobody else took it; raise `LeaseLostError` otherwise."""
        if not self._claim(connection, now, leases.c.token == self._token):
            raise LeaseLostError(f"another process holds the lease of the {self._role}")

    def release(self, connection: sql.Connection) -> None:
        """Let the next one have it at once; a lease of somebody else stays."""
        connection.execute(sql.delete(leases).where(leases.c.role == self._role, leases.c.token == self._token))

    def _claim(self, connection: sql.Connection, now: float, may_take: sql.ColumnElement[bool]) -> bool:
        claim = insert(connection.dialect.name, leases).values(
            role=self._role, token=self._token, expires_at=now + LEASE_S
        )
        taken = claim.on_conflict_do_update(
            index_elements=[leases.c.role],
            set_={"token": claim.excluded.token, "expires_at": claim.excluded.expires_at},
            where=may_take,
        )
        # Not `rowcount`, which PostgreSQL's driver does not tell of an insert.
        return connection.execute(taken.returning(leases.c.role)).first() is not None
