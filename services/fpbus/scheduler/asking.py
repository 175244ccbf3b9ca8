"""Slots whose settings a message may not set go to the dispatcher as calls, a few at a time."""

import logging
import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

from fpbus.bus import Bus, CallError, NoAnswerError, TransportStoppedError
from fpbus.schemas import CallCode, CallFailure, Role, Submit

from .handlers import Slot

log = logging.getLogger(__name__)

_AT_A_TIME: Final = 8
_DEADLINE_S: Final = 5.0
_LATER: Final = frozenset({CallCode.UNAVAILABLE, CallCode.INTERNAL, CallCode.UNKNOWN_VERB})


class Answer(NamedTuple):
    """What the dispatcher said of a run: accepted, or why not."""

    run_id: str
    refusal: CallFailure | None


class Asking:
    """Asks on threads of its own; `wake` is called when there is an answer. Who is not answered asks again later."""

    def __init__(self, bus: Bus, wake: Callable[[], None]) -> None:
        self._bus = bus
        self._wake = wake
        self._threads = ThreadPoolExecutor(_AT_A_TIME, "asks the dispatcher")
        self._asked: set[str] = set()
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()

    def ask(self, slot: Slot) -> None:
        """Have a slot's run made; one that is being asked for is not asked for twice."""
        if slot.run_id not in self._asked:
            self._asked.add(slot.run_id)
            self._threads.submit(self._ask, slot)

    def answers(self) -> list[Answer]:
        """Return what was answered since the last time."""
        return [self._answers.get() for _ in range(self._answers.qsize())]

    def stop(self) -> None:
        """Ask nothing any more; what is asked already is waited for."""
        self._threads.shutdown(cancel_futures=True)

    def _ask(self, slot: Slot) -> None:
        try:
            self._bus.call(Role.DISPATCHER, "submit", Submit(pipeline=slot.pipeline, request=slot.request), _DEADLINE_S)
            self._answers.put(Answer(slot.run_id, None))
        except CallError as error:
            if error.failure.code in _LATER:
                log.warning("the dispatcher could not take a slot: %s", error, extra={"run_id": slot.run_id})
            else:
                self._answers.put(Answer(slot.run_id, error.failure))
        except (NoAnswerError, TransportStoppedError):
            log.debug("no answer for %s", slot.run_id)
        finally:
            self._asked.discard(slot.run_id)
        self._wake()
