"""Cancelling and deleting many runs, step by step.

A cursor says how far it has come: which place, and how many runs from its newest end were looked at and left
there. From that end nothing is missed while workers take runs from the other, or new ones are put on top.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from fpbus.schemas import TERMINAL, ChooseJobs, JobInfo, RunResult, RunState
from fpbus.schemas.queue import HELD, LEASES, QUEUE, SCHEDULED, RunJob

from .handlers import cancelled_result
from .jobs import Place, Wanted, places_of
from .queue import RunQueue

#: How many runs are looked at for one answer, how many at once; one answer takes some 100 ms.
STEP_MOST: Final = 1_000
LOOK_AT_ONCE: Final = 200
_SLACK: Final = 500  # places that a queue may have moved on between a look and the script


class Step(NamedTuple):
    """What one step did, and where the next one begins."""

    cancelled: int
    marked: int
    removed: int
    cursor: str | None


class Chooser:
    """Changes what fits. `ended` is told of each run that it ended, `marked` of each that its worker is to stop."""

    def __init__(
        self, queue: RunQueue, ended: Callable[[RunJob, RunResult], None], marked: Callable[[str], None]
    ) -> None:
        self._queue = queue
        self._ended = ended
        self._marked = marked

    def one(self, run_id: str, *, delete: bool) -> tuple[RunState, str] | None:
        """Cancel one run, or with `delete` let its data go; return its state before and what became of it."""
        found = self._queue.find(run_id)
        if found is None:
            return None
        state, job, attempt = found
        became = self._cancel_one(job, attempt, delete=delete) if job else "ended"
        if became == "ended" and delete:
            became = "removed" if self._queue.remove([run_id]) else "ended"
        return state, became

    def _cancel_one(self, job: RunJob, attempt: int, *, delete: bool) -> str:
        result = cancelled_result(job, attempt, datetime.now(UTC))
        became = self._queue.cancel(job, result, delete=delete)
        self._tell(job, result, became)
        return became

    def step(self, chosen: ChooseJobs, *, delete: bool) -> Step:
        """Do the next step of many. To do one again is harmless: what is gone already does not fit any more."""
        wanted = Wanted(chosen.queue, chosen.state, chosen.pipeline)
        places = _places(wanted, self._queue.jobs.queues(), delete=delete)
        number, left_there = (int(part) for part in (chosen.cursor or "0:0").split(":"))
        cancelled, marked, removed, looked = 0, 0, 0, 0
        while number < len(places) and looked < STEP_MOST:
            run_ids = self._queue.jobs.ids(places[number], left_there, LOOK_AT_ONCE, newest=True)
            did = self._change(run_ids, places[number], left_there, wanted, delete=delete)
            cancelled, marked, removed = cancelled + did[0], marked + did[1], removed + did[2]
            looked += len(run_ids)
            # Those that a worker has to stop stay where they are for a while.
            left_there += len(run_ids) - did[0] - did[2]
            if len(run_ids) < LOOK_AT_ONCE:
                number, left_there = number + 1, 0
        return Step(cancelled, marked, removed, f"{number}:{left_there}" if number < len(places) else None)

    def _change(
        self, run_ids: Sequence[str], place: Place, offset: int, wanted: Wanted, *, delete: bool
    ) -> tuple[int, int, int]:
        fitting = [job for job in self._queue.jobs.look(run_ids).values() if wanted.fits(job)]
        ended = [job.run_id for job in fitting if job.state in TERMINAL]
        answers = self._cancel(fitting, place, (-offset - len(run_ids) - _SLACK, -max(1, offset - _SLACK + 1)), delete)
        removed = self._queue.remove(ended) if delete and ended else 0
        return answers.count("cancelled"), answers.count("marked"), removed

    def _cancel(self, chosen: Sequence[JobInfo], place: Place, between: tuple[int, int], delete: bool) -> list[str]:  # noqa: FBT001 (passed on)
        jobs = self._queue.jobs.read([job.run_id for job in chosen if job.state not in TERMINAL])
        if not jobs:
            return []
        now = datetime.now(UTC)
        runs = [(job, cancelled_result(job, attempt, now)) for job, attempt in jobs.values()]
        answers = self._queue.cancel_many(runs, place.queue or "", between, delete=delete)
        for (job, result), became in zip(runs, answers, strict=True):
            self._tell(job, result, became)
        return answers

    def _tell(self, job: RunJob, result: RunResult, became: str) -> None:
        if became == "cancelled":
            self._ended(job, result)
        elif became == "marked":
            self._marked(job.run_id)


def _places(wanted: Wanted, queues: Sequence[str], *, delete: bool) -> list[Place]:
    """Started ones come last of those that have not ended: what is taken by a worker meanwhile is met there."""
    if wanted.state:
        return places_of(wanted, queues) if delete or wanted.state not in TERMINAL else []
    waiting = [place for queue in queues for place in (Place(SCHEDULED + queue), Place(QUEUE + queue, queue))]
    ended = [Place(f"rq:{registry}:{queue}") for queue in queues for registry in ("finished", "failed", "canceled")]
    return [Place(HELD), *waiting, Place(LEASES), *(ended if delete else [])]
