"""APScheduler as an alarm clock: it wakes us when the next slot is due, and knows nothing of schedules.

It would hold a job for each of them, and go through all of them at every wake-up.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from apscheduler.executors.base import BaseExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.date import DateTrigger

_ALARM: Final = "alarm"


class Timer:
    """Calls `wake` on APScheduler's thread, which it may not block."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._at: datetime | None = None
        self._scheduler = BackgroundScheduler(
            executors={"default": _Waker(wake)}, job_defaults={"misfire_grace_time": None}, timezone=UTC
        )

    def start(self) -> None:
        self._scheduler.start()

    def stop(self) -> None:
        if self._scheduler.running:
            self._scheduler.shutdown()

    def set(self, at: datetime | None) -> None:
        """Wake at that moment next, or never, instead of what was said before."""
        if at != self._at and at is not None:
            self._scheduler.add_job(_ring, DateTrigger(at), id=_ALARM, replace_existing=True)
        self._at = at


def _ring() -> None:
    """Stand for a job: what is done is the executor's."""


class _Waker(BaseExecutor):  # type: ignore[misc]  # APScheduler has no types
    """Wakes at once, where other executors start a thread."""

    def __init__(self, wake: Callable[[], None]) -> None:
        super().__init__()
        self._wake = wake

    def _do_submit_job(self, job: Any, run_times: Sequence[datetime]) -> None:
        del run_times
        self._wake()
        self._run_job_success(job.id, [])
