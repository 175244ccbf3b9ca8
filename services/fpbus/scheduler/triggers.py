"""When something is due: cron as Debian understands it, intervals, and dates.

A trigger is a pure function of its text: any number of schedulers, whenever they were started, derive the same due
times. APScheduler's own triggers do not: its cron counts weekdays from Monday and fires twice on the autumn night,
its interval counts from the start of the process.
"""

import contextlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import takewhile
from typing import Final

import msgspec
from cronsim import CronSim, CronSimError

from fpbus.schemas import IntervalFields

from .clock_changes import end_of_gap, jump_at, moments_of, set_back_soon, wall_of

_FAR_PAST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SHORTEST: Final = timedelta(seconds=1)
_LONGEST: Final = timedelta(days=3660)
_SECONDS: Final = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)([wdhms])\s*")
_PARTS: Final = re.compile(f"(?:{_PART.pattern})+")
_WORDS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


class TriggerError(ValueError):
    """A text that is no trigger. The message says what it must be, to follow after "is '...'; "."""


class Trigger(ABC):
    """Tells when something is due; all times are in UTC. Two triggers that are equal have the same due times."""

    __slots__ = ()

    @abstractmethod
    def next_after(self, after: datetime) -> datetime | None:
        """Return the first due time later than `after`; None when there is none any more."""

    def due_times(self, after: datetime) -> Iterator[datetime]:
        """Yield all due times later than `after`, up to the year 9999."""
        with contextlib.suppress(OverflowError):
            while (due := self.next_after(after)) is not None:
                yield due
                after = due

    def notes(self, due: datetime) -> list[str]:  # noqa: ARG002 (for those that have something to say)
        """Say what is odd about a due time."""
        return []


@lru_cache(maxsize=4096)
def _parsed(fields: str) -> CronSim:
    return CronSim(fields, datetime.now(UTC).replace(tzinfo=None))


def _walk(fields: str, wall: datetime) -> Iterator[datetime]:
    """Yield the times on the wall later than `wall` that fit."""
    walker = copy(_parsed(fields))  # reading the text anew would take half of the time
    walker.dt = wall.replace(microsecond=0)
    return walker


@dataclass(frozen=True, slots=True)
class CronTrigger(Trigger):
    """Five fields as in Debian's cron (0 and 7 are Sunday, day of month OR weekday), or `@daily` and its like.

    A time that spring leaves out is made up for as soon as the clocks have jumped; one that autumn has twice counts
    the first time. As in Debian, neither goes for a minute or hour field that begins with `*`: there every minute
    counts that the clocks show. What cronsim knows beyond that (`L`, `MON#2`, six fields with seconds first) works too.
    """

    cron: str
    zone: tzinfo

    def __post_init__(self) -> None:
        try:
            _parsed(self._fields)
        except (CronSimError, ValueError) as error:
            raise TriggerError(
                f"it must be five fields (minute, hour, day of month, month, weekday) such as '30 2 * * mon', "
                f"or one of {', '.join(_WORDS)} ({str(error)[:80].lower()})."
            ) from None

    def __str__(self) -> str:
        return f"cron {self.cron}"

    @property
    def _fields(self) -> str:
        text = self.cron.strip()
        return _WORDS.get(text.lower(), text)

    @property
    def _is_wild(self) -> bool:
        minute, hour = self._fields.split()[-5:-3]
        return minute.startswith("*") or hour.startswith("*")

    def next_after(self, after: datetime) -> datetime | None:
        due = self._next_on_wall(wall_of(after, self.zone), after)
        again = set_back_soon(after, self.zone) if self._is_wild else None
        if again is None or (due is not None and due < again):
            return due
        return self._next_on_wall(wall_of(again, self.zone) - timedelta(seconds=1), after)

    def _next_on_wall(self, wall: datetime, after: datetime) -> datetime | None:
        """Return the first moment after `after` at which the clocks show a matching time later than `wall`.

        cronsim walks along the wall; what a time on it means is ours to say, also for jumps of half an hour.
        """
        for shown in _walk(self._fields, wall):
            for moment in self._moments(shown):
                if moment > after:
                    return moment
        return None

    def _moments(self, wall: datetime) -> list[datetime]:
        """Return when a matching time on the wall is due, earliest first."""
        moments = moments_of(wall, self.zone)
        if self._is_wild:
            return moments
        if moments:
            return moments[:1]
        made_up = end_of_gap(wall, self.zone)
        return [] if made_up is None else [made_up]

    def notes(self, due: datetime) -> list[str]:
        shown = wall_of(due, self.zone)
        if moments_of(shown, self.zone)[1:]:
            how = "counts each time" if self._is_wild else "counts once"
            return [f"doubled hour: {shown:%H:%M} comes twice on {shown:%Y-%m-%d}, {how}"]
        jump = jump_at(due, self.zone)
        if self._is_wild or jump <= timedelta():
            return []
        skipped = takewhile(lambda time: time < shown, _walk(self._fields, shown - jump - timedelta(seconds=1)))
        return [
            f"skipped hour: {time:%H:%M} does not exist on {time:%Y-%m-%d}, runs at {shown:%H:%M}" for time in skipped
        ]


@dataclass(frozen=True, slots=True)
class IntervalTrigger(Trigger):
    """An interval between 1 s and 10 years, counted from `start`, which is due itself."""

    interval: timedelta
    start: datetime = _FAR_PAST

    def __post_init__(self) -> None:
        if not _SHORTEST <= self.interval <= _LONGEST:
            raise TriggerError("it must be between 1 second and 10 years.")

    @classmethod
    def parse(cls, value: float | str | IntervalFields, start: datetime = _FAR_PAST) -> "IntervalTrigger":
        """Read seconds, a text like `1h30m`, or a mapping like `{hours: 1, minutes: 30}`."""
        try:
            return cls(timedelta(seconds=_seconds(value)), start)
        except (ValueError, OverflowError) as error:
            if isinstance(error, TriggerError):
                raise
            raise TriggerError("it must be between 1 second and 10 years.") from None  # NaN, infinity, 10 ** 300

    def __str__(self) -> str:
        left, text = self.interval.total_seconds(), ""
        for unit, size in _SECONDS.items():
            count, left = divmod(left, size) if size > 1 else (left, 0)
            text += f"{count:g}{unit}" if count else ""
        return f"every {text}"

    def next_after(self, after: datetime) -> datetime:
        return self.start + max(0, (after - self.start) // self.interval + 1) * self.interval


@dataclass(frozen=True, slots=True)
class DateTrigger(Trigger):
    """Once, at one moment."""

    date: datetime

    @classmethod
    def parse(cls, text: str, zone: tzinfo) -> "DateTrigger":
        """Read an ISO time; without a zone of its own it is in `zone`."""
        return cls(moment_of(text, zone))

    def __str__(self) -> str:
        return f"once at {self.date.isoformat()}"

    def next_after(self, after: datetime) -> datetime | None:
        return self.date if self.date > after else None


@dataclass(frozen=True, slots=True)
class Bounded(Trigger):
    """Another trigger between two moments, both included."""

    within: Trigger
    start: datetime | None
    end: datetime | None

    def __str__(self) -> str:
        first = f", from {self.start.isoformat()}" if self.start else ""
        return f"{self.within}{first}{f', until {self.end.isoformat()}' if self.end else ''}"

    def next_after(self, after: datetime) -> datetime | None:
        if self.start is not None:
            after = max(after, self.start - timedelta(microseconds=1))
        due = self.within.next_after(after)
        return None if due is None or (self.end is not None and due > self.end) else due

    def notes(self, due: datetime) -> list[str]:
        return self.within.notes(due)


def moment_of(text: str, zone: tzinfo) -> datetime:
    """Read an ISO time; without a zone of its own it is in `zone`. Raises `TriggerError`."""
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise TriggerError("it must be an ISO time such as '2026-07-01T10:00:00'.") from None


def _seconds(value: float | str | IntervalFields) -> float:
    if isinstance(value, IntervalFields):
        return timedelta(**msgspec.structs.asdict(value)).total_seconds()
    if not isinstance(value, str):
        return value
    if not _PARTS.fullmatch(value.strip()):
        raise TriggerError("it must be seconds, parts such as '1h30m' (w, d, h, m, s), or {hours: 1, minutes: 30}.")
    return sum(float(count) * _SECONDS[unit] for count, unit in _PART.findall(value))
