"""APScheduler as a timer: it wakes us when a slot is due, and knows nothing of runs."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from apscheduler.executors.base import BaseExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from .handlers import PlannedSchedule, changes

OnDue = Callable[[PlannedSchedule, Sequence[datetime]], None]


class Timer:
    """Calls `on_due(schedule, due_times)` on APScheduler's thread, which it may not block.

    After a late wake-up `due_times` begins with the slot that was missed first, and goes on with those of the last
    minute.
    """

    def __init__(self, on_due: OnDue) -> None:
        self._schedules: list[PlannedSchedule] = []
        self._scheduler = BackgroundScheduler(
            executors={"default": _SlotExecutor(on_due)},
            job_defaults={"misfire_grace_time": None, "coalesce": False},  # lateness is judged by `on_waking`
            timezone=UTC,
        )

    def start(self) -> None:
        self._scheduler.start()

    def stop(self) -> None:
        if self._scheduler.running:
            self._scheduler.shutdown()

    def keep(self, schedules: Sequence[PlannedSchedule]) -> None:
        """Time these schedules and no others. One that stays as it was misses no slot."""
        gone, new = changes(self._schedules, schedules)
        for schedule in gone:
            self._scheduler.remove_job(schedule.id)
        for schedule in new:
            self._scheduler.add_job(_due, schedule.trigger, args=(schedule,), id=schedule.id)
        self._schedules = list(schedules)

    def look(self) -> None:
        """Compare with the clock now: APScheduler sleeps on a clock that stands still while the machine does."""
        self._scheduler.wakeup()


def _due(_schedule: PlannedSchedule) -> None:
    """Stand for a job: what is done is the executor's."""


class _SlotExecutor(BaseExecutor):  # type: ignore[misc]  # APScheduler has no types
    """Hands on the due times, which APScheduler tells its executors and never its jobs."""

    def __init__(self, on_due: OnDue) -> None:
        super().__init__()
        self._on_due = on_due

    def _do_submit_job(self, job: Any, run_times: Sequence[datetime]) -> None:
        self._on_due(job.args[0], run_times)
        self._run_job_success(job.id, [])
