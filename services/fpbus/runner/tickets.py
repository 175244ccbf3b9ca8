"""Which of the orders that a work-horse has been given it may begin.

A busy worker hands its horse several orders at once, so that neither waits for the other between two short runs. What
the horse has not begun when one of them turns out to be slow must go to somebody else, though, and whether it has begun
must be certain. So each order has a ticket: a number in a socket that both may read, and the kernel gives each number
to one of them.
"""

import contextlib
import socket
from collections.abc import Iterable, Sequence
from typing import Final

_BYTES: Final = 4
_MOST: Final = 1024


class TicketDesk:
    """The worker's side."""

    def __init__(self) -> None:
        self._ours, self.window = socket.socketpair()

    def give(self, numbers: Iterable[int]) -> None:
        """Let the horse begin these orders, one after the other. A horse that is gone takes none."""
        with contextlib.suppress(OSError):
            self._ours.sendall(b"".join(number.to_bytes(_BYTES) for number in numbers))

    def take_back(self) -> Sequence[int]:
        """Return what the horse has not begun, and never will."""
        try:
            taken = self.window.recv(_BYTES * _MOST, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return ()
        return [int.from_bytes(taken[at : at + _BYTES]) for at in range(0, len(taken), _BYTES)]

    def close(self) -> None:
        self._ours.close()
        self.window.close()


def next_ticket(window: socket.socket) -> int:
    """Wait for the next order that may be begun, in the horse."""
    return int.from_bytes(window.recv(_BYTES))
