"""What is recorded together: a commit costs the same for one event as for many, and all of a short run is one row."""

import time
from typing import Final

from fpbus.bus import Delivery, Inbox

BATCH: Final = 1000
#: How long events are collected while more and more of them come.
GATHER_S: Final = 0.25
#: Who has sent nothing for so long sends no more for now.
PAUSE_S: Final = 0.02
#: How long news of a run is held back for its result, as long as other events come.
HOLD_S: Final = 0.5


class Gathering:
    """Takes events out of an inbox. What is held back is not acknowledged, and comes before what follows it."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._held: list[tuple[float, Delivery]] = []

    def take(self, patience_s: float) -> list[Delivery]:
        """Return what is there, and what follows closely; nothing when nothing came within `patience_s`."""
        gathered, self._held = self._held, []
        deadline = time.monotonic() + GATHER_S
        more = self._inbox.take(BATCH - len(gathered), PAUSE_S if gathered else patience_s)
        while more:
            now = time.monotonic()
            gathered += [(now, delivery) for delivery in more]
            if len(gathered) >= BATCH or now >= deadline:
                return self._hold_back(gathered, now - HOLD_S)
            time.sleep(PAUSE_S)
            more = self._inbox.take(BATCH - len(gathered), 0.0)
        return [delivery for _, delivery in gathered]

    def _hold_back(self, gathered: list[tuple[float, Delivery]], since: float) -> list[Delivery]:
        """Keep what has come after `since` and has no result yet; return the rest."""
        ended = {_run_of(one.topic) for _, one in gathered if one.topic.endswith("/result")}
        taken: list[Delivery] = []
        for came_at, delivery in gathered:
            if came_at < since or _run_of(delivery.topic) in ended:
                taken.append(delivery)
            else:
                self._held.append((came_at, delivery))
        return taken


def _run_of(topic: str) -> str:
    """Return what stands before `/status` or `/result`."""
    return topic.rpartition("/")[0]
