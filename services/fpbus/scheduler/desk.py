"""Which scheduler answers: whoever holds the lease in the store. The others hear the calls and keep silent.

A call that comes while the holder is dead is not answered; who asks again within the lease's three seconds is.
"""

import logging
import threading
import time
from typing import Any, Final

from fpbus.bus import Answerer, Bus, Inbox, TransportStoppedError
from fpbus.schemas import Role, topics

from .calls import Verb
from .database import StoreError
from .store import Store

log = logging.getLogger(__name__)

_RENEW_S: Final = 1.0
_BATCH: Final = 16


class Desk:
    """Takes calls on a thread of its own."""

    def __init__(self, bus: Bus, store: Store, instance: str, verbs: dict[str, tuple[type[Any], Verb]]) -> None:
        self._bus = bus
        self._store = store
        self._inbox = Inbox()
        self._answerer = Answerer(bus, Role.SCHEDULER, instance, verbs)
        self._active = False
        self._tried_s = float("-inf")
        self._settled = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="calls to the scheduler", daemon=True)

    @property
    def active(self) -> bool:
        """Does this scheduler answer. While the store is away the last one to do so tells it."""
        return self._active

    def start(self) -> None:
        self._bus.subscribe(self._inbox, topics.calls_to(Role.SCHEDULER))
        self._thread.start()

    def wait_settled(self, timeout_s: float) -> bool:
        """Wait until it is known who answers."""
        return self._settled.wait(timeout_s)

    def stop(self) -> None:
        """Answer what has come, and leave the rest to the next one."""
        self._ending.set()
        self._inbox.wake()
        if self._thread.is_alive():
            self._thread.join(5.0)
        if self.active:
            try:
                self._store.release_lease()
            except StoreError as error:
                log.info("left the lease to run out", extra={"reason": str(error)})

    def _work(self) -> None:
        while not self._ending.is_set():
            try:
                self._hold_lease()
                for delivery in self._inbox.take(_BATCH, _RENEW_S):
                    if self._may_answer():
                        self._answerer.answer(delivery)
                    self._bus.ack(delivery)
            except TransportStoppedError:
                return
            except Exception:
                log.exception("the desk stumbled")

    def _may_answer(self) -> bool:
        """After a pause of this process another one may have the lease."""
        self._hold_lease()
        return self.active

    def _hold_lease(self) -> None:
        now_s = time.monotonic()
        if now_s - self._tried_s < _RENEW_S:
            return
        self._tried_s = now_s
        try:
            held = self._store.hold_lease()
        except StoreError:
            return  # whoever times schedules says so
        if held != self.active:
            log.info("answers calls from now on" if held else "another scheduler answers calls")
        self._active = held
        self._settled.set()
