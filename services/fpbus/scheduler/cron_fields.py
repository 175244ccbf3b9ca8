"""Cron in parts, `{minute: 0, hour: 3, day_of_week: mon-fri}`: the names of APScheduler, the weekdays of cron.

Unlike in a cron line, all parts must fit: a day of the month AND a weekday.
"""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from cronsim import CronSim, CronSimError

from fpbus.schemas import CronFields

from .triggers import CronTrigger, Trigger, TriggerError

#: From the largest part to the smallest, each with its least value.
_ORDER: Final = ("year", "month", "week", "day", "day_of_week", "hour", "minute", "second")
_IN_LINE: Final = ("second", "minute", "hour", "day", "month")
_LEAST: Final = {"year": "*", "month": "1", "week": "*", "day": "1", "day_of_week": "*"}
_RANGE: Final = re.compile(r"(?:(\d+)(?:-(\d+))?|\*)(?:/(\d+))?")
_YEARS: Final = range(1970, 2100)
_WEEKS: Final = range(1, 54)
_LONGEST_SEARCH: Final = timedelta(days=40 * 366)


@dataclass(frozen=True)
class CronFieldsTrigger(Trigger):
    """A cron line with seconds, and the years, ISO weeks and weekdays (0 is Sunday) that count."""

    line: CronTrigger
    years: frozenset[int]
    weeks: frozenset[int]
    weekdays: frozenset[int]
    text: str = field(compare=False)

    @classmethod
    def of(cls, fields: CronFields, zone: tzinfo) -> "CronFieldsTrigger":
        """Read the parts; raise `TriggerError` for one that cannot be read, or when none is given."""
        part = _complete(fields)
        try:
            line = CronTrigger(" ".join([*(part[name] for name in _IN_LINE), "*"]), zone)
        except TriggerError as error:
            raise TriggerError(f"its parts name no time that ever comes ({str(error).rpartition('(')[2]}") from None
        years, weeks = _numbers(part["year"], "year", _YEARS), _numbers(part["week"], "week", _WEEKS)
        given = ", ".join(f"{name}: {value}" for name in _ORDER if (value := getattr(fields, name)) is not None)
        return cls(line, years, weeks, _weekdays(part["day_of_week"]), f"cron {{{given}}}")

    def __str__(self) -> str:
        return self.text

    def next_after(self, after: datetime) -> datetime | None:
        cursor = after
        while (due := self.line.next_after(cursor)) is not None:
            local = due.astimezone(self.line.zone)
            if local.year > max(self.years) or due - after > _LONGEST_SEARCH:
                return None
            if self._counts(local):
                return due
            # Over the rest of the day in one step: with seconds it would be 86,400.
            tomorrow = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0) + timedelta(days=1)
            cursor = tomorrow.astimezone(UTC) - timedelta(microseconds=1)
        return None

    def _counts(self, day: datetime) -> bool:
        fits = day.year in self.years and day.isocalendar().week in self.weeks
        return fits and day.isoweekday() % 7 in self.weekdays


def _complete(fields: CronFields) -> dict[str, str]:
    """Fill in the parts that are left out: `*` above the smallest one given, the least value below it."""
    given = {name: str(value) for name in _ORDER if (value := getattr(fields, name)) is not None}
    if not given:
        raise TriggerError("it must have at least one part, such as `hour`.")
    smallest = max(_ORDER.index(name) for name in given)
    return {
        name: given.get(name, "*" if position < smallest else _LEAST.get(name, "0"))
        for position, name in enumerate(_ORDER)
    }


def _numbers(text: str, part: str, within: range) -> frozenset[int]:
    """Read `2026`, `2026-2028`, `*/2` and lists of them."""
    numbers: set[int] = set()
    for piece in text.replace(" ", "").split(","):
        match = _RANGE.fullmatch(piece)
        if match is None:
            raise TriggerError(f"its part `{part}` must be numbers from {within[0]} to {within[-1]}.")
        first, last, step = match[1], match[2], int(match[3] or 1)
        start = int(first) if first else within[0]
        end = int(last) if last else start if first and not match[3] else within[-1]
        numbers.update(range(start, end + 1, max(step, 1)))
    if not numbers or not numbers <= set(within):
        raise TriggerError(f"its part `{part}` must be numbers from {within[0]} to {within[-1]}.")
    return frozenset(numbers)


def _weekdays(text: str) -> frozenset[int]:
    try:
        return frozenset(
            day % 7 for day in CronSim(f"0 0 * * {text}", datetime.now(UTC)).weekdays if isinstance(day, int)
        )
    except CronSimError:
        raise TriggerError("its part `day_of_week` must be 0 to 7 (Sunday is 0 and 7) or mon, tue, wed ...") from None
