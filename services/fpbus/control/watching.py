"""Hear what is said about runs, as it is said.

All watches of one bus share one inbox on its network thread, which hands each message to every watch that
asked for it, because a bus gives a message to one inbox only. It acknowledges at once: a watch is no promise.
An event may be heard twice, as with any QoS 1 message, and where watches overlap.
"""

import queue
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final, Self

from fpbus.bus import Bus, Delivery, Inbox
from fpbus.schemas import LogLines, NodeEvent, RunResult, RunStatus, WireError, decode, topics

from .errors import WaitTimedOutError

RunEvent = RunStatus | RunResult | NodeEvent | LogLines

#: A result that was published while the connection was away never comes, so a silent wait asks the history.
RECHECK_S: Final = 5.0

_KINDS: Final[dict[str, type[RunEvent]]] = {
    "status": RunStatus,
    "result": RunResult,
    "nodes": NodeEvent,
    "log": LogLines,
}


class Watch:
    """The events of one run, of one pipeline, or of all, from the moment it was made until it is closed."""

    def __init__(self, run_id: str | None, pipeline: str | None, close: Callable[["Watch"], None]) -> None:
        self._run_id = run_id
        self._pipeline = pipeline
        self._close = close
        self._events: queue.SimpleQueue[RunEvent] = queue.SimpleQueue()

    @property
    def topic_filter(self) -> str:
        return topics.of_run(self._run_id or "+", self._pipeline or "+")

    def next(self, timeout_s: float | None = None) -> RunEvent | None:
        """Return the next event; None when none came in time. Waits for ever without a `timeout_s`."""
        try:
            return self._events.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def offer(self, event: RunEvent) -> None:
        """Take the event when it is one that was asked for."""
        if self._run_id in {None, event.run_id} and self._pipeline in {None, event.pipeline}:
            self._events.put(event)

    def __iter__(self) -> Iterator[RunEvent]:
        while (event := self.next()) is not None:
            yield event

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close(self)


class Watches(Inbox):
    """The one inbox behind all watches of a bus."""

    def __init__(self, bus: Bus) -> None:
        super().__init__()
        self._bus = bus
        self._open: list[Watch] = []
        self._subscribed: set[str] = set()

    def open(self, run_id: str | None, pipeline: str | None) -> Watch:
        watch = Watch(run_id, pipeline, self._close)
        self._open = [*self._open, watch]  # a new list: the network thread may be walking the old one
        if watch.topic_filter not in self._subscribed:
            self._subscribed.add(watch.topic_filter)
            self._bus.subscribe(self, watch.topic_filter)
        return watch

    def _close(self, watch: Watch) -> None:
        self._open = [other for other in self._open if other is not watch]

    def put(self, delivery: Delivery) -> None:
        self._bus.ack(delivery)
        event = _read(delivery)
        if event is not None:
            for watch in self._open:
                watch.offer(event)


def _read(delivery: Delivery) -> RunEvent | None:
    """Decode an event; None for one that this version does not know, or that is none."""
    kind = _KINDS.get(delivery.topic.split("/")[4])
    try:
        return decode(delivery.payload, kind, delivery.content_type) if kind else None
    except WireError:
        return None


def follow(
    watch: Watch, run_id: str, timeout_s: float | None, ended: Callable[[], RunResult | None]
) -> Iterator[RunEvent]:
    """Yield what a watch hears of one run, up to its result; `ended` asks the history for one that was missed.

    Raises `WaitTimedOutError` when there is no result after `timeout_s`; the run goes on.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        left = RECHECK_S if deadline is None else deadline - time.monotonic()
        if left <= 0:
            assert timeout_s is not None
            raise WaitTimedOutError(run_id, timeout_s)
        event = watch.next(min(left, RECHECK_S)) or ended()
        if event is not None:
            yield event
        if isinstance(event, RunResult):
            return
