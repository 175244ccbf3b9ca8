"""The workers of a runner: more of them, fewer of them, none at the end."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from redis import RedisError

from .queue import WorkQueue
from .worker import Worker

log = logging.getLogger(__name__)

_DROP_S: Final = 5.0


class Crew:
    """Who works here. One who leaves finishes the run in hand first, and is counted no more. `hire` makes the n-th."""

    def __init__(self, queue: WorkQueue, hire: Callable[[int], Worker]) -> None:
        self._queue = queue
        self._hire = hire
        self._lock = threading.RLock()
        self._by_number: dict[int, Worker] = {}

    @property
    def workers(self) -> Sequence[Worker]:
        """Return all who are here, also those about to leave."""
        with self._lock:
            return list(self._by_number.values())

    def resize(self, size: int) -> int:
        """Hire or let go until there are so many, and return how many there were; a repeat goes on where it broke.

        Raises `redis.RedisError` when Redis does not do its part.
        """
        with self._lock:
            self.dismiss_gone()
            staying = [number for number, worker in self._by_number.items() if not worker.leaving]
            for number in staying[size:]:
                self._by_number[number].retire()
            for _ in range(size - len(staying)):
                self._hire_one()
            return len(staying)

    def _hire_one(self) -> None:
        """Show a new worker, and give up what an earlier process of its name left behind."""
        number = next(number for number in range(1, len(self._by_number) + 2) if number not in self._by_number)
        worker = self._hire(number)
        left = self._queue.lapse_of(worker.name)
        if left:
            log.warning("gave up leases of an earlier process", extra={"worker": worker.name, "runs": left})
        self._queue.register(worker.name, 0)
        self._by_number[number] = worker
        worker.start()

    def show(self) -> None:
        """Show to RQ's tools what they serve now."""
        for worker in self.workers:
            self._queue.register(worker.name, 0)

    def dismiss_gone(self) -> None:
        """Take those off the list who have left."""
        with self._lock:
            for number, worker in list(self._by_number.items()):
                if worker.gone:
                    self._queue.unregister(worker.name)
                    del self._by_number[number]

    def disband(self, patience_s: float) -> None:
        """See everybody off, who were told to stop; whoever takes longer than that hands back the run in hand."""
        deadline = time.monotonic() + patience_s
        workers = self.workers
        unfinished = [worker for worker in workers if not worker.join(max(0.0, deadline - time.monotonic()))]
        for worker in unfinished:
            worker.drop()
        for worker in unfinished:
            worker.join(_DROP_S)
        try:
            for worker in workers:
                self._queue.unregister(worker.name)
        except RedisError as error:
            log.info("left the registration to run out", extra={"reason": str(error)})
