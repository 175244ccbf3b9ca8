"""Where messages wait between the network thread and the thread that handles them."""

import queue
import time
from collections.abc import Callable

from .transport import Delivery


class Inbox:
    """A hand-off that never blocks the network thread.

    It needs no bound of its own: what a broker sends before it hears an ack is bounded by the receive maximum
    (MQTT 5), or by the broker's in-flight limit (3.1.1).
    """

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[Delivery | None] = queue.SimpleQueue()

    def put(self, delivery: Delivery) -> None:
        self._waiting.put(delivery)

    def wake(self) -> None:
        """Make a waiting `take` return."""
        self._waiting.put(None)

    def take(self, most: int, timeout_s: float) -> list[Delivery]:
        """Return up to `most` messages in order of arrival; empty after `timeout_s` without any."""
        taken: list[Delivery] = []
        deadline = time.monotonic() + timeout_s
        while len(taken) < most:
            try:
                delivery = self._waiting.get(not taken, max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                break
            if delivery is None:
                break
            taken.append(delivery)
        return taken


class WakingInbox(Inbox):
    """One that another thread looks into when it is woken: each message calls `wake`."""

    def __init__(self, wake: Callable[[], None]) -> None:
        super().__init__()
        self._wake = wake

    def put(self, delivery: Delivery) -> None:
        super().put(delivery)
        self._wake()
