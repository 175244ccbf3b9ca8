"""When something is due: cron as Debian understands it, and intervals on a fixed grid.

A trigger is a pure function of its text: any number of schedulers, whenever they were started, derive the same due
times. APScheduler's own triggers do not: its cron counts weekdays from Monday and fires twice on the autumn night,
its interval counts from the start of the process.
"""

import re
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

import msgspec
from apscheduler.triggers.base import BaseTrigger
from cronsim import CronSim, CronSimError

from fpbus.schemas import IntervalFields

#: A trigger that is asked late tells no slot that is older: the rest of a long sleep is skipped in one step.
LATE: Final = timedelta(seconds=60)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
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


class Trigger(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """Tells when something is due; all times are in UTC. Two triggers that are equal have the same due times."""

    @abstractmethod
    def next_after(self, after: datetime) -> datetime | None:
        """Return the first due time later than `after`; None when there is none any more."""

    def due_times(self, after: datetime) -> Iterator[datetime]:
        """Yield all due times later than `after`."""
        due = self.next_after(after)
        while due is not None:
            yield due
            due = self.next_after(due)

    def get_next_fire_time(  # pyright: ignore[reportIncompatibleMethodOverride] (guessed from an empty body)
        self, previous_fire_time: datetime | None, now: datetime
    ) -> datetime | None:
        """Answer APScheduler, which asks for one slot after the other when it wakes late."""
        if previous_fire_time is None:
            return self.next_after(now)
        return self.next_after(max(previous_fire_time, now - LATE))


@dataclass(frozen=True)
class CronTrigger(Trigger):
    """Five fields as in Debian's cron (0 and 7 are Sunday, day of month OR weekday), or `@daily` and its like.

    An hour that spring leaves out is made up for at the first minute after it; an hour that autumn has twice counts
    once. As in Debian, neither goes for a minute or hour field that begins with `*`. What cronsim knows beyond that
    (`L`, `MON#2`, six fields with seconds first) works too. Where clocks change by less than an hour (Lord Howe) a
    slot of that night may be missing or doubled.
    """

    cron: str
    zone: tzinfo

    def __post_init__(self) -> None:
        try:
            CronSim(self._fields, datetime.now(self.zone))
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

    def next_after(self, after: datetime) -> datetime | None:
        # In the second pass of a doubled hour cronsim begins with the first pass, which is over.
        later = (due.astimezone(UTC) for due in CronSim(self._fields, after.astimezone(self.zone)))
        return next((due for due in later if due > after), None)


@dataclass(frozen=True)
class IntervalTrigger(Trigger):
    """Multiples of an interval since 1970-01-01T00:00Z: `1d` is midnight UTC, `1w` is Thursday. 1 s to 10 years."""

    interval: timedelta

    def __post_init__(self) -> None:
        if not _SHORTEST <= self.interval <= _LONGEST:
            raise TriggerError("it must be between 1 second and 10 years.")

    @classmethod
    def parse(cls, value: float | str | IntervalFields) -> "IntervalTrigger":
        """Read seconds, a text like `1h30m`, or a mapping like `{hours: 1, minutes: 30}`."""
        try:
            return cls(timedelta(seconds=_seconds(value)))
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
        return _EPOCH + ((after - _EPOCH) // self.interval + 1) * self.interval


@dataclass(frozen=True)
class DateTrigger(Trigger):
    """Once, at one moment."""

    date: datetime

    @classmethod
    def parse(cls, text: str, zone: tzinfo) -> "DateTrigger":
        """Read an ISO time; without a zone of its own it is in `zone`."""
        try:
            moment = datetime.fromisoformat(text)
            return cls((moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC))
        except (ValueError, OverflowError):
            raise TriggerError("it must be an ISO time such as '2026-07-01T10:00:00'.") from None

    def __str__(self) -> str:
        return f"once at {self.date.isoformat()}"

    def next_after(self, after: datetime) -> datetime | None:
        return self.date if self.date > after else None


def _seconds(value: float | str | IntervalFields) -> float:
    if isinstance(value, IntervalFields):
        return timedelta(**msgspec.structs.asdict(value)).total_seconds()
    if not isinstance(value, str):
        return value
    if not _PARTS.fullmatch(value.strip()):
        raise TriggerError("it must be seconds, parts such as '1h30m' (w, d, h, m, s), or {hours: 1, minutes: 30}.")
    return sum(float(count) * _SECONDS[unit] for count, unit in _PART.findall(value))
