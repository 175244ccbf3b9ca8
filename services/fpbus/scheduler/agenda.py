"""Who is due next: the active schedules in a heap, each with the one due time that comes next."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from .planning import PlannedSchedule


@dataclass(slots=True)
class _Entry:
    schedule: PlannedSchedule
    after: datetime
    due: datetime | None


class Agenda:
    """Every slot up to an entry's `after` has been dealt with. A hundred thousand entries cost no more per slot."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._heap: list[tuple[datetime, str]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def pipelines(self) -> set[str]:
        return {entry.schedule.spec.pipeline for entry in self._entries.values()}

    def put(self, schedule: PlannedSchedule, after: datetime) -> None:
        """Time a schedule, anew when it is there already; what it has done it does not do again."""
        before = self._entries.get(schedule.id)
        if before is not None and before.schedule.spec.since == schedule.spec.since:
            after = max(after, before.after)
        self._go_on(schedule, after)

    def remove(self, schedule_id: str) -> None:
        """Time it no more; one that is not there is fine."""
        self._entries.pop(schedule_id, None)

    def head(self) -> datetime | None:
        """Return when something is due next; None when nothing ever is."""
        while self._heap and not self._is_true(*self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: datetime) -> Iterator[tuple[PlannedSchedule, datetime]]:
        """Yield each schedule that is due, with the moment up to which it was dealt with; it is, up to `now`, then."""
        while (due := self.head()) is not None and due <= now:
            entry = self._entries[heapq.heappop(self._heap)[1]]
            yield entry.schedule, entry.after
            if self._entries.get(entry.schedule.id) is entry:
                self._go_on(entry.schedule, now)

    def _go_on(self, schedule: PlannedSchedule, after: datetime) -> None:
        due = schedule.trigger.next_after(after)
        self._entries[schedule.id] = _Entry(schedule, after, due)
        if due is not None:
            heapq.heappush(self._heap, (due, schedule.id))

    def _is_true(self, due: datetime, schedule_id: str) -> bool:
        """Things of the heap are left behind when a schedule is changed or removed."""
        entry = self._entries.get(schedule_id)
        return entry is not None and entry.due == due
