"""Requests for runs that nobody has accepted or rejected yet, on disk before they are sent.

Each is sent again until it is answered or its time is over. Its run id makes a repeat harmless for as long as the
dispatcher remembers ids; so nothing is kept longer than that. Any number of processes may use one file: who sends a
request holds it for some seconds, and the others leave it alone.
"""

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from fpbus.lifecycle import Settings
from fpbus.project import ProjectError, find_project, load_project, private_folder
from fpbus.schemas import FpbusError, Submit

#: The shortest time for which a project may let the dispatcher remember run ids; without a project we know no better.
SHORTEST_WINDOW_S: Final = 60.0
_BUSY_TIMEOUT_S: Final = 5.0

_TABLE: Final = """
create table if not exists requests (
    bus text not null, run_id text not null, submit blob not null, until real not null, held_until real not null,
    primary key (bus, run_id))
"""


class OutboxError(FpbusError):
    """The file of the outbox cannot be used; nothing was sent."""

    exit_code = 8


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A request in the outbox, for the bus at `bus`; it is not sent after `until`."""

    run_id: str
    pipeline: str
    bus: str
    until: datetime
    submit: Submit

    @property
    def over(self) -> bool:
        return self.until <= datetime.now(UTC)


class Outbox:
    """The requests of one file that go to one bus. Any thread may call it; the file is made at the first request."""

    def __init__(self, path: Path, bus: str, window_s: float = SHORTEST_WINDOW_S) -> None:
        self.path = path
        self._bus = bus
        self._window_s = window_s
        self._lock = threading.Lock()
        self._open: sqlite3.Connection | None = None

    def keep(self, submit: Submit, hold_s: float) -> datetime:
        """Store a request, and return until when it is sent again. One that is there keeps its time."""
        now, request = time.time(), submit.request
        until = now + self._window_s
        if request.expires_at is not None:
            until = min(until, request.expires_at.timestamp())
        row = (self._bus, request.run_id, msgspec.json.encode(submit), until, now + hold_s)
        with self._database() as database:
            database.execute("pragma synchronous = full")
            ((until,),) = database.execute(
                "insert into requests values (?, ?, ?, ?, ?) on conflict do update set held_until = excluded.held_until"
                " returning until",
                row,
            ).fetchall()
        return datetime.fromtimestamp(until, UTC)

    def forget(self, run_id: str) -> None:
        """Let a request go that was answered. Should a power cut undo that, it is sent once more, which is harmless."""
        with self._database() as database:
            database.execute("pragma synchronous = normal")
            database.execute("delete from requests where bus = ? and run_id = ?", (self._bus, run_id))

    def take(self, hold_s: float, most: int) -> list[Waiting]:
        """Return requests that nobody else is sending, and hold them."""
        now = time.time()
        if not self.path.exists():
            return []
        with self._database() as database:
            rows = database.execute(
                "update requests set held_until = ? where rowid in (select rowid from requests"
                " where bus = ? and held_until <= ? and until > ? order by rowid limit ?)"
                " returning bus, run_id, submit, until",
                (now + hold_s, self._bus, now, now, most),
            ).fetchall()
        return [_waiting(row) for row in rows]

    def drop_over(self) -> list[Waiting]:
        """Forget the requests whose time is over, for whichever bus, and return them."""
        if not self.path.exists():
            return []
        with self._database() as database:
            rows = database.execute(
                "delete from requests where until <= ? returning bus, run_id, submit, until", (time.time(),)
            ).fetchall()
        return [_waiting(row) for row in rows]

    def waiting(self) -> list[Waiting]:
        """Return all requests in the file, for whichever bus, oldest first."""
        if not self.path.exists():
            return []
        with self._database() as database:
            rows = database.execute("select bus, run_id, submit, until from requests order by rowid").fetchall()
        return [_waiting(row) for row in rows]

    def close(self) -> None:
        with self._lock:
            if self._open is not None:
                self._open.close()
                self._open = None

    @contextlib.contextmanager
    def _database(self) -> Generator[sqlite3.Connection]:
        with self._lock:
            try:
                self._open = self._open or _opened(self.path)
                yield self._open
            except (OSError, sqlite3.Error) as error:
                raise OutboxError(
                    f"The outbox {self.path} cannot be used: {error}.",
                    "A run is stored there before it is sent. Make room, or let the folder be written to.",
                ) from error


def outbox_of(settings: Settings, bus: str) -> Outbox:
    """Return the outbox of the project that `settings` name, else that of the user."""
    try:
        folder = find_project(settings.project_dir)
        window_s = load_project(folder).limits.dedup_window_s
    except FpbusError as error:
        if not isinstance(error, ProjectError):
            raise
        return Outbox(_state_folder() / "fpbus" / "outbox.db", bus)
    return Outbox(folder / ".fpbus" / "outbox.db", bus, window_s)


def _state_folder() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")


def _opened(path: Path) -> sqlite3.Connection:
    private_folder(path.parent)
    if not path.exists():
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # for its owner only
    database = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        _prepare(database)
    except sqlite3.Error:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection) -> None:
    """Try for a while: SQLite does not wait by itself while another process makes the file a WAL one."""
    deadline = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            database.execute("pragma journal_mode = wal")
            database.execute(_TABLE)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _waiting(row: tuple[str, str, bytes, float]) -> Waiting:
    bus, run_id, body, until = row
    submit = msgspec.json.decode(body, type=Submit)
    return Waiting(
        run_id=run_id, pipeline=submit.pipeline, bus=bus, until=datetime.fromtimestamp(until, UTC), submit=submit
    )
