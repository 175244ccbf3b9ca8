"""Which queues have workers: what workers say of themselves in Redis, as of its own clock."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fpbus.schemas.queue import ALL_QUEUES, WORKERS


class Serving(NamedTuple):
    """The queues of each worker that is alive."""

    queues: Sequence[Sequence[str]]

    def count(self, queue: str) -> int:
        return sum(queue in served or ALL_QUEUES in served for served in self.queues)


def ask(pipeline: Any) -> None:
    """Ask in a pipeline for what `serving_of` reads: the next two answers."""
    pipeline.time()
    pipeline.hgetall(WORKERS)


def serving_of(time: tuple[int, int], workers: Mapping[bytes, bytes]) -> Serving:
    """Read the two answers; a worker that has been silent for too long serves nothing."""
    now_ms = time[0] * 1000 + time[1] // 1000
    words = [text.decode().partition(" ") for text in workers.values()]
    return Serving([queues.split(",") for until, _, queues in words if int(until) > now_ms])
