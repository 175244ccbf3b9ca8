"""The history's database: found, opened, written and read, with one error for every trouble that it may have.

SQLite is opened in WAL mode with synchronous=FULL: what is committed outlives a power cut, and readers never
wait for the writer. PostgreSQL ends the transaction of a recorder that was frozen within it, and no wait for a lock
is without end. Statements are SQLAlchemy Core and keep to what SQLite and PostgreSQL have in common.
"""

import contextlib
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import sqlalchemy as sql
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from fpbus.lifecycle import Settings, SettingsError
from fpbus.project import private_folder
from fpbus.schemas import FpbusError

BUSY_TIMEOUT_S: Final = 1.0
FROZEN_S: Final = 5.0
CONNECT_TIMEOUT_S: Final = 5
#: Pages of indexes that a connection keeps, in KiB. With SQLite's own 2 MiB it reads most of them anew for each batch.
CACHE_KIB: Final = 64 * 1024

Insert = postgresql.Insert | sqlite.Insert

_INSERT: Final[dict[str, Callable[[sql.Table], Insert]]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}

_WITHOUT_ZONE: Final = len("2026-01-01 00:00:00.000000")

metadata: Final = sql.MetaData()


class DatabaseError(FpbusError):
    """The database cannot be used now: locked, full, read-only, or gone."""

    exit_code = 5


class Utc(sql.TypeDecorator[datetime]):
    """A time, stored in UTC without a zone, because SQLite keeps none; there it is text, as SQLAlchemy writes it."""

    impl = sql.DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: sql.Dialect) -> Any:
        """Do without SQLAlchemy's own writing and reading of such texts, which costs more than to store them."""
        kind: Any = _SqliteTime() if dialect.name == "sqlite" else sql.DateTime()
        return dialect.type_descriptor(kind)

    def process_bind_param(self, value: datetime | None, dialect: sql.Dialect) -> Any:
        if value is None:
            return None
        return _plain(value) if dialect.name == "sqlite" else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: sql.Dialect) -> datetime | None:
        if value is None:
            return None
        if dialect.name == "sqlite":
            return datetime.fromisoformat(f"{value}+00:00")
        return cast("datetime", value).replace(tzinfo=UTC)


class _SqliteTime(sql.types.UserDefinedType[str]):
    """A text in a column of times."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "DATETIME"


class Database:
    """An engine and how to use it. Each thread that writes or reads has a connection of its own."""

    def __init__(self, url: sql.URL) -> None:
        self._engine = _engine(url)
        self._file = Path(url.database or "") if url.get_backend_name() == "sqlite" else None
        self._name = url.render_as_string(hide_password=True)
        try:
            self._make_file()
        except OSError as error:
            raise _unusable(f"{self._file}: {error.strerror}") from error

    def open(self) -> None:
        """Make what is missing: folder, file, tables. Safe to repeat, also when the file was taken away."""
        with self._explained():
            self._make_file()
            metadata.create_all(self._engine)

    @contextlib.contextmanager
    def write(self) -> Generator[sql.Connection]:
        """Run one transaction; it is committed at the end, or rolled back when something is raised."""
        with self._explained():
            if self._file is not None:
                self._file.stat()  # SQLite would go on writing to a file that was deleted
            with self._engine.begin() as connection:
                yield connection

    @contextlib.contextmanager
    def read(self) -> Generator[sql.Connection]:
        with self._explained(), self._engine.connect() as connection:
            yield connection

    def close(self) -> None:
        """Let go of all idle connections; the next use opens new ones."""
        self._engine.dispose()

    def _make_file(self) -> None:
        """Make a file that only its owner can read; SQLite gives the files beside it the same mode."""
        if self._file is not None:
            private_folder(self._file.parent)
            os.close(os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600))

    @contextlib.contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            reason = error.orig if isinstance(error, DBAPIError) else error
            raise DatabaseError(f"The history {self._name} cannot be used: {reason}.") from error


def history_url(settings: Settings) -> sql.URL:
    """Return where the history is: as set, or a file in the project."""
    if settings.history_url is None:
        return sql.URL.create("sqlite", database=str(settings.project_dir / ".fpbus" / "history.db"))
    try:
        url = sql.make_url(settings.history_url)
    except (ArgumentError, ValueError):
        raise _unusable("it is no database URL") from None
    if url.get_backend_name() not in _INSERT:
        raise _unusable(f"the history cannot be kept in {url.get_backend_name()!r}")
    if url.get_backend_name() == "sqlite" and url.database in {None, "", ":memory:"}:
        raise _unusable("a SQLite history needs a file")
    return url


def insert(dialect: str, table: sql.Table) -> Insert:
    """Return an insert of the dialect, which knows `on conflict`."""
    return _INSERT[dialect](table)


def insert_many(dialect: str, table: sql.Table) -> Insert:
    """Return an insert for `execute_many`. PostgreSQL takes all rows as one JSON text, and so runs one statement."""
    if dialect != "postgresql":
        return insert(dialect, table)
    text = sql.cast(sql.bindparam("rows", type_=sql.Text()), postgresql.JSON())
    columns = [sql.column(column.name, column.type) for column in table.columns]
    rows = sql.func.json_to_recordset(text).table_valued(*columns).render_derived(with_types=True)
    return postgresql.insert(table).from_select(table.columns.keys(), sql.select(*rows.c))


def execute_many(connection: sql.Connection, statement: Insert, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that have a value for every column; times are in UTC.

    SQLite gets the text of the statement and plain values: SQLAlchemy needs longer to look at them than SQLite to
    store them.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(statement, {"rows": msgspec.json.encode(rows).decode()})
    else:
        text, names = _compiled(statement)
        values_of = itemgetter(*names)
        connection.exec_driver_sql(text, [tuple(map(_plain, values_of(row))) for row in rows])


@lru_cache
def _compiled(statement: Insert) -> tuple[str, Sequence[str]]:
    """Return the text of a statement for SQLite, and what its question marks stand for, in order."""
    compiled: Any = statement.compile(dialect=sqlite.dialect())
    return str(compiled), compiled.positiontup


def _plain(value: Any) -> Any:
    """Write a time as SQLAlchemy does in SQLite: in UTC, and without saying so."""
    if type(value) is not datetime:
        return value
    return (value if value.tzinfo is UTC else value.astimezone(UTC)).isoformat(" ", "microseconds")[:_WITHOUT_ZONE]


def _unusable(why: str) -> SettingsError:
    return SettingsError(
        f"FPBUS_HISTORY_URL cannot be used: {why}.",
        "Set it to something like sqlite:////var/lib/fpbus/history.db or postgresql://user:password@host/fpbus.",
    )


def _engine(url: sql.URL) -> sql.Engine:
    is_sqlite = url.get_backend_name() == "sqlite"
    options = {"timeout": BUSY_TIMEOUT_S} if is_sqlite else {"connect_timeout": CONNECT_TIMEOUT_S}
    try:
        engine = sql.create_engine(url, pool_pre_ping=True, hide_parameters=True, connect_args=options)
    except (SQLAlchemyError, ImportError) as error:
        raise _unusable(str(error)) from error
    event.listen(engine, "connect", _set_up_sqlite if is_sqlite else _set_up_postgresql)
    return engine


def _set_up_postgresql(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = '{BUSY_TIMEOUT_S}s'")
        cursor.execute(f"SET idle_in_transaction_session_timeout = '{FROZEN_S}s'")
    connection.commit()


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
