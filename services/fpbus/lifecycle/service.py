"""The life of a service process: start, say `ready`, run until told to stop, say goodbye.

Every service is a `Service`: `start()` opens what it needs and returns when it is ready to work, `stop()`
finishes or hands back what is in hand. Stop may come before start, and twice.
"""

import contextlib
import gc
import logging
import os
import signal
import sys
import threading
from types import FrameType
from typing import Protocol

from fpbus.schemas import FpbusError

from .presence import ServicePresence

log = logging.getLogger(__name__)

GRACE_S = 30.0
#: So many new objects that can be part of a cycle; Python's own 700 come with every few messages.
_COLLECT_AFTER = 20_000


class Stop:
    """Told once, heard everywhere: the process is to end. `reason` is set when it is not by request."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.reason: str | None = None

    def request(self, reason: str | None = None) -> None:
        if not self._event.is_set():
            self.reason = reason
            self._event.set()

    @property
    def requested(self) -> bool:
        return self._event.is_set()

    def wait(self, timeout_s: float | None = None) -> bool:
        return self._event.wait(timeout_s)


class Service(Protocol):
    """One of the four services, as its process sees it."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


class TakenOverError(FpbusError):
    """Another process has taken this one's place."""

    exit_code = 1


def run_service(  # noqa: PLR0917 (its surroundings)
    service: Service, presence: ServicePresence, stop: Stop, role: str, instance: str, grace_s: float = GRACE_S
) -> None:
    """Run a service until SIGTERM, SIGINT, or its own end; a second signal ends the process at once.

    To stop it may take `grace_s`.
    Prints one line `ready` with role, instance and pid on standard output. Raises what `start` raises, and
    `TakenOverError` when another process has taken the place of this one.
    """
    presence.on_rival = stop.request
    _listen_for_signals(stop)
    try:
        service.start()
        _spare_the_collector()
        if not stop.requested:
            presence.become("ready")
            _say_ready(role, instance)
            log.info("ready", extra={"role": role, "instance": instance, "pid": os.getpid()})
        stop.wait()
        log.info("stopping", extra={"role": role, "instance": instance})
    finally:
        presence.become("stopping")
        _end_within(grace_s)
        service.stop()
    if stop.reason is not None:
        raise TakenOverError(f"The {role} {instance} has stopped: {stop.reason}.", _hint(role, stop.reason))


def _spare_the_collector() -> None:
    """Have Python's garbage collector look no more at what was loaded: it took a quarter of a recorder's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)


def _hint(role: str, reason: str) -> str | None:
    """Say what to do when two of one name met; of dispatchers and recorders one is active, whatever their names."""
    met = role in {"runner", "scheduler"} and reason.startswith("another")
    return "Give each a name of its own: --instance NAME, or FPBUS_INSTANCE." if met else None


def _say_ready(role: str, instance: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        line = ready_line(role, instance)
        sys.stdout.write(line)
        sys.stdout.flush()


def ready_line(role: str, instance: str) -> str:
    """Return the line that tells a starter that the service works."""
    return f"ready role={role} instance={instance} pid={os.getpid()}\n"


def _listen_for_signals(stop: Stop) -> None:
    def on_signal(number: int, _frame: FrameType | None) -> None:
        if stop.requested:
            os._exit(128 + number)
        stop.request()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)


def _end_within(grace_s: float) -> None:
    """End the process when stopping takes longer than that."""

    def give_up() -> None:
        log.error("did not stop within %s s", grace_s)
        os._exit(1)

    timer = threading.Timer(grace_s, give_up)
    timer.daemon = True
    timer.start()
