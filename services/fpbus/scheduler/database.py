"""Where schedules are stored: SQLite in the project, or PostgreSQL by URL; with one error for every trouble.

SQLite is opened in WAL mode with synchronous=FULL, so that what was answered outlives a power cut.
"""

import contextlib
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sql
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from fpbus.lifecycle import Settings, SettingsError
from fpbus.project import private_folder
from fpbus.schemas import FpbusError

_BUSY_TIMEOUT_S: Final = 5.0

Insert = postgresql.Insert | sqlite.Insert

metadata: Final = sql.MetaData()


class StoreError(FpbusError):
    """The store of schedules cannot be used now: locked, full, read-only, or gone."""

    exit_code = 5


class Database:
    """An engine, and transactions on it from any thread."""

    def __init__(self, url: sql.URL) -> None:
        self._name = url.render_as_string(hide_password=True)
        self._file = Path(url.database or "") if url.get_backend_name() == "sqlite" else None
        self._engine = _engine(url)

    def open(self) -> None:
        """Make what is missing: folder, file, tables. Safe to repeat."""
        with self._explained():
            if self._file is not None:
                private_folder(self._file.parent)
                os.close(os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600))  # for its owner only
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

    @contextlib.contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            reason = error.orig if isinstance(error, DBAPIError) else error
            raise StoreError(f"The schedules in {self._name} cannot be used: {reason}.") from error


def schedules_url(settings: Settings) -> sql.URL:
    """Return where schedules are stored: as set, or a file in the project."""
    if settings.schedules_url is None:
        return sql.URL.create("sqlite", database=str(settings.project_dir / ".fpbus" / "schedules.db"))
    try:
        url = sql.make_url(settings.schedules_url)
    except (ArgumentError, ValueError):
        raise _unusable("it is no database URL") from None
    if url.get_backend_name() not in {"sqlite", "postgresql"}:
        raise _unusable(f"schedules cannot be stored in {url.get_backend_name()!r}")
    if url.get_backend_name() == "sqlite" and url.database in {None, "", ":memory:"}:
        raise _unusable("SQLite needs a file")
    return url


def insert(connection: sql.Connection, table: sql.Table) -> Insert:
    """Return an insert of the connection's dialect, which knows `on conflict`."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def _unusable(why: str) -> SettingsError:
    return SettingsError(
        f"FPBUS_SCHEDULES_URL cannot be used: {why}.",
        "Set it to something like sqlite:////var/lib/fpbus/schedules.db or postgresql://user:password@host/fpbus.",
    )


def _engine(url: sql.URL) -> sql.Engine:
    is_sqlite = url.get_backend_name() == "sqlite"
    options: dict[str, Any] = {"connect_args": {"timeout": _BUSY_TIMEOUT_S}} if is_sqlite else {}
    try:
        engine = sql.create_engine(url, pool_pre_ping=True, hide_parameters=True, **options)
    except (SQLAlchemyError, ImportError) as error:
        raise _unusable(str(error)) from error
    if is_sqlite:
        event.listen(engine, "connect", _make_durable)
    return engine


def _make_durable(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
