"""Where messages wait between the network thread and the thread that handles them."""

import queue
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
        try:
            delivery = self._waiting.get(timeout_s > 0, timeout_s) if most > 0 else None
            while delivery is not None:
                taken.append(delivery)
                delivery = self._waiting.get_nowait() if len(taken) < most else None
        except queue.Empty:
            pass
        return taken


class WakingInbox(Inbox):
    """One that another thread looks into when it is woken: each message calls `wake`."""

    def __init__(self, wake: Callable[[], None]) -> None:
        super().__init__()
        self._wake = wake

    def put(self, delivery: Delivery) -> None:
        super().put(delivery)
        self._wake()
