"""Windows whose time has come: their runs are made, said to be accepted, and only then the windows are forgotten.

A run's id is its window's, so a dispatcher that dies in between makes none of them twice.
"""

from typing import Final

from fpbus.bus import Bus, Sending
from fpbus.schemas import topics

from .handlers import Admission
from .ingress import Submit, status_of
from .queue import RunQueue, Submission

_SOON_S: Final = 0.01


class Closing:
    """Makes the runs of closed windows. `submit` returns when Redis has the runs."""

    def __init__(self, bus: Bus, queue: RunQueue, submit: Submit) -> None:
        self._bus = bus
        self._queue = queue
        self._submit = submit
        self._saying: dict[str, Sending] = {}

    def wait_s(self, most_s: float) -> float:
        """Return how long there is nothing to do here, `most_s` at most."""
        due_in = self._queue.windows.next_due()
        if due_in is None:
            return most_s
        return min(most_s, max(due_in, _SOON_S if self._saying else 0.0))

    @property
    def due(self) -> bool:
        """Tell whether there is something to do, as far as is known without asking Redis."""
        return self.wait_s(1.0) <= _SOON_S

    def settle(self) -> None:
        """Do what is due now; a repeat finds nothing more."""
        self._let_go()
        closed = [each for each in self._queue.windows.due() if each.job.run_id not in self._saying]
        outcomes = self._submit([Submission(each.job, each.digest) for each in closed]) if closed else []
        for each, outcome in zip(closed, outcomes, strict=True):
            job = each.job
            status = status_of(Admission(job, each.digest, minted=True), outcome)
            topic = topics.status(job.pipeline, job.run_id)
            self._saying[job.run_id] = self._bus.publish(topic, status, traceparent=job.traceparent)

    def _let_go(self) -> None:
        said = [run_id for run_id, sending in self._saying.items() if sending.wait(0.0)]
        self._queue.windows.done(said)
        for run_id in said:
            del self._saying[run_id]
