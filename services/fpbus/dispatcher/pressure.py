"""How much waits, retained on the bus, for dashboards and for publishers that can hold back."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from msgspec.structs import replace

from fpbus.bus import Bus
from fpbus.schemas import Pressure, QueuePressure, topics

from .queue import Backlog, RunQueue

EVERY_S: Final = 2.0
#: How much a new look at the rate of a queue counts against what was known of it.
_WEIGHT: Final = 0.3


class PressureGauge:
    """Looks at the queues every other second, and tells what has changed."""

    def __init__(self, bus: Bus, queue: RunQueue) -> None:
        self._bus = bus
        self._queue = queue
        self._told: Pressure | None = None
        self._looked_at = 0.0
        self._depths: dict[str, int] = {}
        self._per_s: dict[str, float] = {}
        bus.on_session(self._on_session)

    def tell(self) -> None:
        """Publish, if it is time to and there is anything new."""
        now = time.monotonic()
        if now - self._looked_at < EVERY_S:
            return
        backlogs, unrecorded = self._queue.backlogs()
        self._learn(backlogs, now - self._looked_at)
        self._looked_at = now
        queues = [self._pressure(name, backlog) for name, backlog in sorted(backlogs.items())]
        pressure = Pressure(at=datetime.now(UTC), unrecorded=unrecorded, queues=queues)
        if self._told is None or replace(pressure, at=self._told.at) != self._told:
            self._bus.publish(topics.PRESSURE, pressure, retain=True)
            self._told = pressure

    def _learn(self, backlogs: Mapping[str, Backlog], seconds: float) -> None:
        """Take from what came in and what is left how fast each queue is worked off, while it has work."""
        for name, backlog in backlogs.items():
            before = self._depths.get(name, 0)
            left = max(0, before + self._queue.taken_in.pop(name, 0) - backlog.depth)
            if name in self._depths and (before or left):
                rate = left / seconds
                self._per_s[name] = rate + (1 - _WEIGHT) * (self._per_s.get(name, rate) - rate)
            self._depths[name] = backlog.depth

    def _pressure(self, name: str, backlog: Backlog) -> QueuePressure:
        per_s = self._per_s.get(name, 0.0)
        wait_s = backlog.depth / per_s if per_s else None
        return QueuePressure(
            queue=name,
            depth=backlog.depth,
            oldest_s=round(backlog.oldest_s, 1),
            wait_s=0.0 if not backlog.depth else None if wait_s is None else round(wait_s, 1),
        )

    def _on_session(self, session_present: bool) -> None:  # noqa: FBT001 (the hook's own shape)
        if not session_present:  # the broker may have forgotten what it retained
            self._told = None
