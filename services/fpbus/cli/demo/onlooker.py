"""A client beside the others, who hears what is said and may ask the services."""

import contextlib
import queue
import secrets
from collections.abc import Generator
from datetime import UTC, datetime
from typing import Final, NamedTuple, Self

from fpbus.bus import Bus, Delivery, Inbox, open_bus
from fpbus.control import Control, NotConnectedError
from fpbus.schemas import topics

from .story import CLIMATE, WEATHER

_CONNECT_S: Final = 5.0


class Heard(NamedTuple):
    """A message, and when it came."""

    topic: str
    payload: bytes
    at: datetime


class Onlooker(Inbox):
    """Hears everything about the demo's pipelines; the time is taken on the network thread, where it is exact."""

    def __init__(self, bus: Bus) -> None:
        super().__init__()
        self.control = Control(bus)
        self._bus = bus
        self._heard: queue.SimpleQueue[Heard] = queue.SimpleQueue()

    @classmethod
    @contextlib.contextmanager
    def connect(cls, url: str) -> Generator[Self]:
        """Join the bus at `url`; whatever is said from then on is heard."""
        bus = open_bus(url, f"fpbus-demo-{secrets.token_hex(6)}")
        bus.start()
        try:
            if not bus.wait_connected(_CONNECT_S):
                raise NotConnectedError(url, _CONNECT_S, bus.trouble)
            onlooker = cls(bus)
            bus.subscribe(onlooker, f"pipelines/{WEATHER}/#", f"pipelines/{CLIMATE}/#", topics.RECORDED)
            onlooker.control.services()  # answered after the subscription, which was sent before
            yield onlooker
        finally:
            bus.stop()

    def put(self, delivery: Delivery) -> None:
        self._bus.ack(delivery)
        self._heard.put(Heard(delivery.topic, delivery.payload, datetime.now(UTC)))

    def next(self, timeout_s: float) -> Heard | None:
        """Return the next message; None when none came in time."""
        try:
            return self._heard.get(timeout=timeout_s)
        except queue.Empty:
            return None
