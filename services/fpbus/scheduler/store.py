"""Schedules as data: one row each, the spec as JSON, and how far it has fired.

Whoever changes a spec counts `changed` or `removed` up in the same transaction, so any number of schedulers notice
with one small query. That count is also the lock: it is the first thing that a change writes.

A caller's question is answered by one scheduler, whoever holds the lease. It bears the name of the instance: one
that was killed comes back to its own.
"""

import contextlib
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sql

from fpbus.schemas import ScheduleSpec, WireError, decode, encode

from .database import Database, insert, metadata

LEASE_S: Final = 3.0
NO_ERROR: Final = ""

_schedules: Final = sql.Table(
    "schedules",
    metadata,
    sql.Column("id", sql.String(128), primary_key=True),
    sql.Column("pipeline", sql.String(64), nullable=False, index=True),
    sql.Column("spec", sql.Text, nullable=False),
    sql.Column("changed", sql.BigInteger, nullable=False, index=True),
    sql.Column("fired_until", sql.Double, nullable=False),  # this and the next in seconds since 1970
    sql.Column("last_fired", sql.Double),
    sql.Column("last_error", sql.Text),
)
_versions: Final = sql.Table(
    "schedules_version",
    metadata,
    sql.Column("one", sql.Integer, primary_key=True, autoincrement=False),
    sql.Column("changed", sql.BigInteger, nullable=False),
    sql.Column("removed", sql.BigInteger, nullable=False),
)
_leases: Final = sql.Table(
    "schedules_lease",
    metadata,
    sql.Column("one", sql.Integer, primary_key=True, autoincrement=False),
    sql.Column("holder", sql.String(255), nullable=False),
    sql.Column("expires_at", sql.Double, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Version:
    """Two that are equal mean that no spec has changed between them."""

    changed: int = -1
    removed: int = -1


@dataclass(frozen=True, slots=True)
class Stored:
    """One row. All slots up to `fired_until` are settled: accepted, refused, or skipped on purpose."""

    spec: ScheduleSpec
    fired_until: datetime
    last_fired: datetime | None = None
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """How far one schedule has come. Of two marks the later counts, whoever made them. None says nothing new."""

    id: str
    fired_until: datetime
    last_fired: datetime | None
    last_error: str | None


class LeaseLostError(Exception):
    """Another scheduler answers now."""


class Changes:
    """The schedules within one transaction, nobody else's changes between what it reads and what it writes."""

    def __init__(self, connection: sql.Connection) -> None:
        self._connection = connection
        self._next = _count_up(connection, "changed")

    def get(self, schedule_id: str) -> Stored | None:
        return next(iter(_select(self._connection, _schedules.c.id == schedule_id)), None)

    def all(self) -> list[Stored]:
        return list(_select(self._connection, sql.true()))

    def put(self, specs: Iterable[ScheduleSpec]) -> None:
        """Store specs. One whose `since` is new begins anew: nothing is due before, and its marks are gone."""
        rows = [self._row(spec) for spec in specs]
        if not rows:
            return
        new = insert(self._connection, _schedules)
        fields = {name: new.excluded[name] for name in ("pipeline", "spec", "changed")}
        again = _schedules.c.fired_until < new.excluded.fired_until  # of an unchanged `since` it never is
        marks = {
            "fired_until": sql.case((again, new.excluded.fired_until), else_=_schedules.c.fired_until),
            "last_error": sql.null(),
        }
        self._connection.execute(new.on_conflict_do_update(index_elements=["id"], set_={**fields, **marks}), rows)

    def remove(self, ids: Sequence[str]) -> None:
        if ids:
            _count_up(self._connection, "removed")
            gone = sql.delete(_schedules).where(_schedules.c.id == sql.bindparam("gone"))
            self._connection.execute(gone, [{"gone": one} for one in ids])

    def skip(self, ids: Sequence[str], until: datetime) -> None:
        """Have nothing made up for that was due until then."""
        later = sql.update(_schedules).where(
            _schedules.c.id == sql.bindparam("one"), _schedules.c.fired_until < until.timestamp()
        )
        if ids:
            self._connection.execute(later.values(fired_until=until.timestamp()), [{"one": one} for one in ids])

    def _row(self, spec: ScheduleSpec) -> dict[str, Any]:
        since = (spec.since or datetime.now(UTC)).timestamp()
        text = encode(spec).decode()
        return {"id": spec.id, "pipeline": spec.pipeline, "spec": text, "changed": self._next, "fired_until": since}


class Store:
    """The schedules in a database. Every method may raise `StoreError`."""

    def __init__(self, database: Database, holder: str) -> None:
        self._database = database
        self._holder = holder

    def open(self) -> None:
        """Make what is missing. Safe to repeat."""
        self._database.open()
        with self._database.write() as connection:
            first = insert(connection, _versions).values(one=1, changed=0, removed=0)
            connection.execute(first.on_conflict_do_nothing())

    def close(self) -> None:
        self._database.close()

    # Reading.

    def version(self) -> Version:
        with self._database.read() as connection:
            row = connection.execute(sql.select(_versions.c.changed, _versions.c.removed)).one()
        return Version(row.changed, row.removed)

    def changed_since(self, version: Version) -> list[Stored]:
        """Return what has changed after that version."""
        with self._database.read() as connection:
            return list(_select(connection, _schedules.c.changed > version.changed))

    def ids(self) -> set[str]:
        with self._database.read() as connection:
            return set(connection.execute(sql.select(_schedules.c.id)).scalars())

    def get(self, schedule_id: str) -> Stored | None:
        with self._database.read() as connection:
            return next(iter(_select(connection, _schedules.c.id == schedule_id)), None)

    def list(self, wanted: dict[str, str], limit: int, offset: int) -> tuple[list[Stored], int]:
        """Return one page of those whose columns have the wanted values, by id, and how many there are in all."""
        fits = sql.and_(sql.true(), *(_schedules.c[name] == value for name, value in wanted.items()))
        with self._database.read() as connection:
            total = connection.execute(sql.select(sql.func.count()).select_from(_schedules).where(fits)).scalar_one()
            return list(_select(connection, fits, limit, offset)), total

    # Writing.

    @contextlib.contextmanager
    def changes(self, *, answering: bool = False) -> Generator[Changes]:
        """Change schedules in one transaction; `answering` needs the lease, else `LeaseLostError` is raised."""
        with self._database.write() as connection:
            changes = Changes(connection)
            if answering and not self._claim(connection):
                raise LeaseLostError
            yield changes

    def save(self, marks: Sequence[Mark]) -> None:
        """Remember how far schedules have come."""
        if not marks:
            return
        until, fired = (sql.cast(sql.bindparam(name), sql.Double) for name in ("until", "fired"))
        error = sql.cast(sql.bindparam("error"), sql.Text)  # PostgreSQL wants to know the type of a NULL
        columns = _schedules.c
        later = sql.update(_schedules).where(columns.id == sql.bindparam("one"))
        later = later.values(
            fired_until=sql.case((columns.fired_until > until, columns.fired_until), else_=until),
            last_fired=sql.case(
                (sql.or_(fired.is_(None), columns.last_fired > fired), columns.last_fired), else_=fired
            ),
            last_error=sql.case((error.is_(None), columns.last_error), (error == NO_ERROR, sql.null()), else_=error),
        )
        rows = [
            {"one": mark.id, "until": mark.fired_until.timestamp(), "fired": _seconds(mark.last_fired)}
            | {"error": mark.last_error and mark.last_error.replace("\0", "\ufffd")}  # PostgreSQL has no NUL
            for mark in marks
        ]
        with self._database.write() as connection:
            connection.execute(later, rows)

    def hold_lease(self) -> bool:
        """Take the lease when nobody has it, or keep it; tell whether it is ours."""
        with self._database.write() as connection:
            return self._claim(connection)

    def release_lease(self) -> None:
        """Let the next one answer at once."""
        with self._database.write() as connection:
            connection.execute(sql.delete(_leases).where(_leases.c.holder == self._holder))

    def _claim(self, connection: sql.Connection) -> bool:
        now = datetime.now(UTC).timestamp()
        claim = insert(connection, _leases).values(one=1, holder=self._holder, expires_at=now + LEASE_S)
        taken = claim.on_conflict_do_update(
            index_elements=["one"],
            set_={"holder": claim.excluded.holder, "expires_at": claim.excluded.expires_at},
            where=sql.or_(_leases.c.holder == self._holder, _leases.c.expires_at < now),
        )
        # Not `rowcount`, which PostgreSQL's driver does not tell of an insert.
        return connection.execute(taken.returning(_leases.c.one)).first() is not None


def _count_up(connection: sql.Connection, column: str) -> int:
    count = _versions.c[column]
    counted = sql.update(_versions).values({column: count + 1}).returning(count)
    return int(connection.execute(counted).scalar_one())


def _select(
    connection: sql.Connection, fits: sql.ColumnElement[bool], limit: int | None = None, offset: int = 0
) -> Generator[Stored]:
    columns = (_schedules.c.spec, _schedules.c.fired_until, _schedules.c.last_fired, _schedules.c.last_error)
    query = sql.select(*columns).where(fits).order_by(_schedules.c.id).limit(limit).offset(offset)
    for text, until, fired, error in connection.execute(query):
        with contextlib.suppress(WireError):  # of a newer fpbus, which will come back to it
            yield Stored(
                decode(text.encode(), ScheduleSpec), _moment(until), None if fired is None else _moment(fired), error
            )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
