"""One supervisor for each project: a lock that ends with its process, and a file that says what runs where.

The lock, not the file, tells whether a supervisor lives: the system drops it however the process ends.
"""

import contextlib
import fcntl
import os
import signal
import time
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

import msgspec

from fpbus.project import private_folder
from fpbus.schemas import FpbusError

from .children import Child, kill_group
from .servers import without_password

FOLDER: Final = Path(".fpbus")

_LOCK: Final = "up.lock"
_STATE: Final = "up.json"
_NEW_STATE: Final = "up.json.new"

# Somebody who only looks holds the lock for a moment too.
_PATIENCE_S: Final = 0.5
# The leash has told them to stop; then we do; then nobody asks any more.
_LEFTOVERS: Final = ((0, 3.0), (signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0))
_PAUSE_S: Final = 0.02


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """The supervisor of a project, what it runs, and where other programs find the bus."""

    pid: int
    started: datetime
    mqtt_url: str
    redis_url: str
    processes: dict[str, Child] = {}


class AlreadyRunningError(FpbusError):
    """Another supervisor has this project."""

    def __init__(self, project: Path, other: Running | None) -> None:
        who = f" (process {other.pid}, broker {without_password(other.mqtt_url)})" if other else ""
        hint = f"Stop it with Ctrl-C where it runs, or with `kill {other.pid}`." if other else None
        super().__init__(f"`fpbus up` is running for {project} already{who}.", hint)


def running(project: Path) -> Running | None:
    """Return what is up for this project, or None. Changes nothing."""
    folder = project / FOLDER
    try:
        with (folder / _LOCK).open("rb") as lock:
            return None if _lock(lock, fcntl.LOCK_SH) else _read(folder)
    except OSError:
        return None


class Claim:
    """Holds a project for as long as the `with` block runs; raises `AlreadyRunningError` when somebody else does."""

    def __init__(self, project: Path) -> None:
        self._project = project
        self._folder = project / FOLDER
        self._lock: BinaryIO | None = None
        self._written: Running | None = None

    def __enter__(self) -> Self:
        private_folder(self._folder)
        self._lock = self._take_lock()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for name in (_NEW_STATE, _STATE, _LOCK):  # the lock last, and while we hold it
            (self._folder / name).unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()

    def write(self, state: Running) -> None:
        """Tell the project's other programs; a reader sees the old state or the new one, never half of it."""
        if state == self._written:
            return
        new = self._folder / _NEW_STATE
        with open(new, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(msgspec.json.encode(state))
        new.replace(self._folder / _STATE)
        self._written = state

    def end_leftovers(self) -> None:
        """Stop what a supervisor left behind that could not stop it itself."""
        state = _read(self._folder)
        left = list(state.processes.values()) if state else []
        for number, patience_s in _LEFTOVERS:
            left = [child for child in left if child.alive]
            for child in left:
                _send(child, number)
            _wait_until_gone(left, patience_s)
        (self._folder / _STATE).unlink(missing_ok=True)

    def _take_lock(self) -> BinaryIO:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            lock = (self._folder / _LOCK).open("wb")
            if _lock(lock, fcntl.LOCK_EX) and self._is_current(lock):
                return lock
            lock.close()
            if time.monotonic() > deadline:
                raise AlreadyRunningError(self._project, _read(self._folder))
            time.sleep(_PAUSE_S)

    def _is_current(self, lock: BinaryIO) -> bool:
        """Say whether the file we locked is still the one that others will find."""
        try:
            return os.path.samestat(os.fstat(lock.fileno()), (self._folder / _LOCK).stat())
        except FileNotFoundError:
            return False


def _lock(file: BinaryIO, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(folder: Path) -> Running | None:
    try:
        return msgspec.json.decode((folder / _STATE).read_bytes(), type=Running)
    except (OSError, msgspec.DecodeError):
        return None


def _send(child: Child, number: int) -> None:
    if number == signal.SIGKILL:
        kill_group(child.pid)
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(child.pid, number)


def _wait_until_gone(children: list[Child], patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while any(child.alive for child in children) and time.monotonic() < deadline:
        time.sleep(_PAUSE_S)
