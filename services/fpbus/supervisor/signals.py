"""Wait for whatever comes first: a time, a request to stop, or the end of a child."""

import contextlib
import select
import signal
import socket
import time
from types import FrameType, TracebackType
from typing import Final, Self

_STOP: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Started through another program, one Ctrl-C can come twice: from the terminal and passed on.
_SAME_REQUEST_S: Final = 0.5


class Signals:
    """Counts requests to stop while the `with` block runs; on the main thread only."""

    def __init__(self) -> None:
        self.stop_requests = 0
        self._last_request = 0.0

    def __enter__(self) -> Self:
        self._ear, self._bell = socket.socketpair()
        for end in (self._ear, self._bell):
            end.setblocking(False)
        self._bell_before = signal.set_wakeup_fd(self._bell.fileno(), warn_on_full_buffer=False)
        self._before = {number: signal.getsignal(number) for number in (*_STOP, signal.SIGCHLD)}
        for number in _STOP:
            if number is not signal.SIGHUP or self._before[number] is not signal.SIG_IGN:  # nohup means it
                signal.signal(number, self._on_stop)
        signal.signal(signal.SIGCHLD, _on_child)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        signal.set_wakeup_fd(self._bell_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._ear.close()
        self._bell.close()

    def wait(self, timeout_s: float | None) -> None:
        """Return at the next signal, or after the timeout; None waits for a signal."""
        select.select([self._ear], [], [], timeout_s)
        with contextlib.suppress(BlockingIOError):
            self._ear.recv(4096)

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.stop_requests or now - self._last_request > _SAME_REQUEST_S:
            self.stop_requests += 1
            self._last_request = now


def _on_child(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: having a handler is what makes the signal wake `wait`."""
