"""Child processes that do not outlive their parent, and how to know a process again."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

_PR_SET_PDEATHSIG: Final = 1


class Child(msgspec.Struct, frozen=True):
    """A process for ever: its id may be another's one day, id and birth together may not."""

    pid: int
    birth: str

    @property
    def alive(self) -> bool:
        return birth_of(self.pid) == self.birth


def start_child(command: tuple[str, ...], environment: dict[str, str], log: Path) -> "subprocess.Popen[bytes]":
    """Start a program in a session of its own, so that Ctrl-C does not reach it; what it writes goes to `log`.

    On Linux the child gets SIGTERM when the *thread* that called this ends: call it on the main thread.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | environment,
            start_new_session=True,
            # Runs between fork and exec: one system call, no lock, and no other thread that could hold one.
            preexec_fn=_leash(),  # noqa: PLW1509
        )


def _leash() -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()  # looked up here, before the fork

    def end_with_parent() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before we asked to be told
            os._exit(1)

    return end_with_parent


def kill_group(pid: int) -> None:
    """Kill what is left of a child and of its own children."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def birth_of(pid: int) -> str | None:
    """Return when a process began, in the system's own words; None when there is none, or only its remains."""
    return _birth_on_linux(pid) if sys.platform == "linux" else _birth_elsewhere(pid)


def _birth_on_linux(pid: int) -> str | None:
    try:
        state, *facts = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else facts[18]


def _birth_elsewhere(pid: int) -> str | None:
    found = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)],  # noqa: S607 (in /bin or /usr/bin)
        capture_output=True,
        check=False,
        text=True,
    )
    state, _, birth = found.stdout.strip().partition(" ")
    return birth.strip() if birth and not state.startswith("Z") else None
