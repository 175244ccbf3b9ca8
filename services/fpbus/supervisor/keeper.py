"""Keeps one process: starts it, sees when it works, starts it again when it dies."""

import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from fpbus.project import private_folder

from .children import Child, birth_of, kill_group, start_child
from .events import Event, ProcessDied, ProcessReady, ProcessStarted
from .plan import Probe, ProcessSpec

_FIRST_DELAY_S: Final = 0.2
_LONGEST_DELAY_S: Final = 10.0
_SETTLED_S: Final = 30.0

_LOOK_S: Final = 0.02
_PROBE_S: Final = 0.2
_MAX_LOG: Final = 10 * 1024 * 1024
_NOT_STARTED: Final = 127  # as a shell says it


def next_delay(last_delay_s: float, lived_s: float) -> float:
    """Return how long to wait after a death: longer each time, and from the beginning after a life of 30 s."""
    if last_delay_s == 0 or lived_s >= _SETTLED_S:
        return _FIRST_DELAY_S
    return min(last_delay_s * 2, _LONGEST_DELAY_S)


class Keeper:
    """One process and its successors. `look` as often as `due` says, and at every SIGCHLD; all times are monotonic."""

    def __init__(self, spec: ProcessSpec, logs: Path, tell: Callable[[Event], None]) -> None:
        self.spec = spec
        self.log = Log(logs / f"{spec.name}.log")
        self.child: Child | None = None
        self.ready = False
        self.last_code: int | None = None
        self._tell = tell
        self._process: subprocess.Popen[bytes] | None = None
        self._born_at = 0.0
        self._start_at = 0.0
        self._delay_s = 0.0

    def look(self, now: float) -> None:
        """See what has become of the process, and do what that asks for."""
        if self._process is None:
            if now >= self._start_at:
                self._start(now)
        elif (code := self._process.poll()) is not None:
            self._bury(code, now)
        elif not self.ready and self._works():
            self.ready = True
            self._tell(ProcessReady(self.spec.name, now - self._born_at))

    def due(self, now: float) -> float | None:
        """Return in how many seconds to look again; None: nothing is to be expected."""
        if self._process is None:
            return max(0.0, self._start_at - now)
        return None if self.ready else _LOOK_S

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def terminate(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def finish(self) -> None:
        """Kill what is left; repeats do nothing."""
        if self._process is not None:
            kill_group(self._process.pid)
            self._process.wait()
            self._process = None

    def _start(self, now: float) -> None:
        self.log.begin()
        self._born_at = now
        try:
            self._process = start_child(self.spec.command, self.spec.environment, self.log.path)
        except OSError as error:
            self.log.write(f"{self.spec.command[0]}: {error.strerror}")
            self._mourn(_NOT_STARTED, now)
            return
        self.child = Child(self._process.pid, birth_of(self._process.pid) or "")
        self._tell(ProcessStarted(self.spec.name, self._process.pid, self.spec.detail))

    def _works(self) -> bool:
        return answers(self.spec.probe) if self.spec.probe else self.log.says_ready()

    def _bury(self, code: int, now: float) -> None:
        assert self._process is not None
        kill_group(self._process.pid)  # children that it left would stand in the way of the next
        self._process = self.child = None
        self.ready = False
        self._mourn(code, now)

    def _mourn(self, code: int, now: float) -> None:
        self.last_code = code
        self._delay_s = next_delay(self._delay_s, now - self._born_at)
        self._start_at = now + self._delay_s
        self._tell(ProcessDied(self.spec.name, code, self._delay_s))


def answers(probe: Probe) -> bool:
    """Ask a server on loopback, and say whether it gave the expected answer."""
    try:
        with socket.create_connection(("127.0.0.1", probe.port), _PROBE_S) as connection:
            connection.sendall(probe.question)
            return not probe.answer or connection.recv(len(probe.answer)) == probe.answer
    except OSError:
        return False


class Log:
    """The file that a process writes to, seen from where its present life began."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._begin = 0

    def begin(self) -> None:
        """Begin a new life; a file that has grown large is set aside and replaces the one before it."""
        private_folder(self.path.parent)
        self._begin = self.path.stat().st_size if self.path.exists() else 0
        if self._begin > _MAX_LOG:
            self.path.replace(self.path.with_suffix(".log.1"))
            self._begin = 0

    def write(self, line: str) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def says_ready(self) -> bool:
        return any(line.startswith("ready ") for line in self._lines())

    def last_words(self, count: int) -> list[str]:
        return [line for line in self._lines() if line.strip()][-count:]

    def _lines(self) -> list[str]:
        with self.path.open("rb") as file:
            file.seek(self._begin)
            return file.read().decode("utf-8", "replace").splitlines()
