"""How far each schedule has come, to be stored now and then.

A schedule has come as far as its oldest slot that is not settled. So what was fired but not accepted is fired again
after a crash, and what was accepted in the last second too: its run id makes that harmless.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from .handlers import Slot
from .store import NO_ERROR, Mark

_TICK = timedelta(microseconds=1)


@dataclass(slots=True)
class _Course:
    until: datetime
    open: set[datetime] = field(default_factory=set)
    fired: datetime | None = None
    error: str | None = None


class Progress:
    """Collects what happens to slots until it is stored."""

    def __init__(self) -> None:
        self._courses: dict[str, _Course] = {}
        self._new: set[str] = set()

    def passed(self, schedule_id: str, until: datetime, fire: list[datetime]) -> None:
        """Everything up to `until` has been dealt with; what is to fire is now open."""
        course = self._courses.setdefault(schedule_id, _Course(until))
        course.until = max(course.until, until)
        course.open.update(fire)
        self._new.add(schedule_id)

    def settled(self, slot: Slot, error: str | None = None) -> None:
        """A slot is accepted, or it never will be, and why."""
        course = self._courses.setdefault(slot.schedule_id, _Course(slot.due))
        course.open.discard(slot.due)
        course.fired = max(slot.due, course.fired or slot.due)
        course.error = error or NO_ERROR
        self._new.add(slot.schedule_id)

    def take(self) -> list[Mark]:
        """Return how far those have come of which there is news."""
        marks = [self._mark(schedule_id, self._courses[schedule_id]) for schedule_id in self._new]
        self._new.clear()
        for mark in marks:
            if not self._courses[mark.id].open:
                del self._courses[mark.id]
        return marks

    def put_back(self, marks: list[Mark]) -> None:
        """Take back what could not be stored."""
        for mark in marks:
            course = self._courses.setdefault(mark.id, _Course(mark.fired_until))
            course.fired = max(filter(None, (course.fired, mark.last_fired)), default=None)
            course.error = course.error or mark.last_error
            self._new.add(mark.id)

    def _mark(self, schedule_id: str, course: _Course) -> Mark:
        until = min(course.open) - _TICK if course.open else course.until
        return Mark(schedule_id, until, course.fired, course.error)
