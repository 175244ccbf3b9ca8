"""Services that run on their own in the background: a file for each says which process it is, and where its log is.

A process is known by its id and its birth, so a file that outlived its process is not taken for another's.
"""

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from fpbus.lifecycle import GRACE_S
from fpbus.project import private_folder
from fpbus.schemas import FpbusError

from .children import Child, birth_of, kill_group
from .claim import FOLDER

_READY_S: Final = 60.0
_MARGIN_S: Final = 5.0
_PAUSE_S: Final = 0.05
_LAST_LINES: Final = 5


class Daemon(msgspec.Struct, frozen=True, kw_only=True):
    """A service in the background."""

    name: str
    process: Child
    log: str


class DaemonError(FpbusError):
    """A service cannot be started in the background, or be stopped."""


def start_daemon(project: Path, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Daemon:
    """Start a service in a session of its own and return once it says `ready`; raise `DaemonError` when it does not."""
    with _alone(project):
        other = _read(_file(project, name))
        if other is not None:
            raise DaemonError(f"{name} is running already (process {other.process.pid}).", f"Its log is {other.log}.")
        log = _file(project, name).with_suffix(".log")
        said_before = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=os.environ | environment,
                start_new_session=True,  # so that the end of the terminal is not its end
            )
        daemon = Daemon(name=name, process=Child(popen.pid, birth_of(popen.pid) or ""), log=str(log))
        _file(project, name).write_bytes(msgspec.json.encode(daemon))
    _wait_ready(popen, daemon, said_before)
    return daemon


def stop_daemon(project: Path, name: str, grace_s: float = GRACE_S) -> Daemon | None:
    """Stop a service as an operator would, by force when it takes longer than its grace; None when there is none."""
    with _alone(project):
        daemon = _read(_file(project, name))
    if daemon is None:
        return None
    for number, patience_s in ((signal.SIGTERM, grace_s + _MARGIN_S), (signal.SIGKILL, 5.0)):
        if number == signal.SIGTERM:
            os.kill(daemon.process.pid, number)
        else:
            kill_group(daemon.process.pid)
        if _wait(lambda: not daemon.process.alive, patience_s):
            _file(project, name).unlink(missing_ok=True)
            return daemon
    raise DaemonError(f"{name} (process {daemon.process.pid}) does not end.")


def daemons(project: Path) -> list[Daemon]:
    """Return the services that run in the background, by name."""
    files = sorted((project / FOLDER / "daemons").glob("*.json"))
    return [daemon for file in files if (daemon := _read(file)) is not None]


def _wait_ready(popen: "subprocess.Popen[bytes]", daemon: Daemon, said_before: int) -> None:
    log = Path(daemon.log)

    def settled() -> bool:
        return popen.poll() is not None or b"\nready " in b"\n" + log.read_bytes()[said_before:]

    if _wait(settled, _READY_S) and popen.poll() is None:
        return
    kill_group(daemon.process.pid)
    Path(daemon.log).with_suffix(".json").unlink(missing_ok=True)
    last = log.read_bytes()[said_before:].decode(errors="replace").rstrip().splitlines()[-_LAST_LINES:]
    raise DaemonError(f"{daemon.name} did not start.", "\n".join([*last, f"Its log is {daemon.log}."]))


def _wait(condition: Callable[[], bool], patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE_S)
    return True


def _read(file: Path) -> Daemon | None:
    """Return whom a file tells of; a file whose process has ended is removed."""
    try:
        daemon = msgspec.json.decode(file.read_bytes(), type=Daemon)
    except (OSError, msgspec.MsgspecError):
        return None
    if daemon.process.alive:
        return daemon
    file.unlink(missing_ok=True)
    return None


def _file(project: Path, name: str) -> Path:
    return project / FOLDER / "daemons" / f"{name}.json"


@contextmanager
def _alone(project: Path) -> Generator[None]:
    """Have nobody else start or stop one meanwhile."""
    folder = project / FOLDER / "daemons"
    private_folder(folder)
    with (folder / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
