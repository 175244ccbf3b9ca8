"""Cron against a reference of our own, which shares nothing with the library: a clock that walks.

The reference does what cron(8) of Debian says. Each minute of true time it looks at the clock on the wall and runs the
jobs whose fields fit. When the clock has jumped forward (by less than three hours) it first runs the jobs with fixed
times that the jump has left out; when it was set back, such jobs are not run again until the clock shows what it has
not shown before. Jobs whose minute or hour field begins with `*` only ever follow the wall.

`FPBUS_CRON_EXPRESSIONS=10000` tries as many; `FPBUS_CRON_SEED` repeats a run.
"""

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import pytest

from fpbus.scheduler.triggers import CronTrigger

EXPRESSIONS = int(os.environ.get("FPBUS_CRON_EXPRESSIONS", "400"))
SEED = int(os.environ.get("FPBUS_CRON_SEED", random.SystemRandom().randrange(2**32)))
FIRES = 20
ZONES = [
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "America/New_York",
    "America/Santiago",
    "America/St_Johns",
    "Africa/Cairo",
    "Asia/Kolkata",
    "Asia/Beirut",
    "Australia/Lord_Howe",
]
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
JUMP = timedelta(hours=3)


# The reference.


@dataclass(frozen=True)
class Job:
    """One line of a crontab, read as crontab(5) describes it."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    follows_wall: bool

    @classmethod
    def read(cls, line: str) -> "Job":
        minute, hour, day, month, weekday = line.split()
        return cls(
            minutes=numbers(minute, 0, 59),
            hours=numbers(hour, 0, 23),
            days=numbers(day, 1, 31),
            months=numbers(month, 1, 12, MONTHS),
            weekdays=frozenset(number % 7 for number in numbers(weekday, 0, 7, WEEKDAYS)),
            either_day=not day.startswith("*") and not weekday.startswith("*"),
            follows_wall=minute.startswith("*") or hour.startswith("*"),
        )

    def fits_day(self, wall: datetime) -> bool:
        if wall.month not in self.months:
            return False
        by_number, by_name = wall.day in self.days, wall.isoweekday() % 7 in self.weekdays
        return by_number or by_name if self.either_day else by_number and by_name

    def fits(self, wall: datetime) -> bool:
        return wall.minute in self.minutes and wall.hour in self.hours and self.fits_day(wall)


def numbers(field: str, least: int, most: int, names: list[str] | None = None) -> frozenset[int]:
    found: set[int] = set()
    for part in field.lower().split(","):
        span, _, step = part.partition("/")
        if span == "*":
            first, last = least, most
        else:
            low, _, high = span.partition("-")
            first = number(low, least, names)
            last = number(high, least, names) if high else first
        found.update(range(first, last + 1, int(step or 1)))
    return frozenset(found)


def number(text: str, least: int, names: list[str] | None) -> int:
    return names.index(text) + least if names and text in names else int(text)


def walk(job: Job, zone: ZoneInfo, after: datetime, until: datetime) -> Iterator[datetime]:
    """Yield the minutes of true time at which the job runs, later than `after` and not later than `until`."""
    now = after.replace(second=0, microsecond=0) - JUMP
    wall = furthest = shown_at(now, zone)  # furthest: up to where the clock has ever shown
    calm_until = now
    while now < until:
        if now >= calm_until and is_calm(zone, now):
            calm_until = now + DAY
        calm = calm_until - now
        skip = min(idle_time(job, wall), calm) if calm >= HOUR else timedelta()
        now += skip or MINUTE
        wall, before = (wall + skip if skip else shown_at(now, zone)), wall
        runs = not skip and job.fits(wall) and (job.follows_wall or wall > furthest)
        if not skip and not job.follows_wall and MINUTE < wall - before < JUMP:
            left_out = (before + step * MINUTE for step in range(1, int((wall - before) / MINUTE)))
            runs = runs or any(job.fits(time) for time in left_out)
        furthest = max(furthest, wall)
        if runs and after < now <= until:
            yield now


def is_calm(zone: ZoneInfo, now: datetime) -> bool:
    """Are the clocks left alone for a day."""
    wall = shown_at(now, zone)
    return shown_at(now + DAY, zone) - wall == DAY and shown_at(now + DAY / 2, zone) - wall == DAY / 2


def idle_time(job: Job, wall: datetime) -> timedelta:
    """Say how long surely nothing runs, on a clock that is left alone: minutes are many."""
    later = wall + HOUR
    if not job.fits_day(wall) and not job.fits_day(wall + DAY):
        return DAY
    return timedelta() if {wall.hour, later.hour} & job.hours else HOUR


@lru_cache(maxsize=4096)
def shown_at(moment: datetime, zone: ZoneInfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


# Random crontabs.


def a_field(dice: random.Random, least: int, most: int, names: list[str] | None = None) -> str:
    kind = dice.random()
    if kind < 0.3:
        return "*"
    if kind < 0.4:
        return f"*/{dice.randint(1, most)}"
    return ",".join(a_part(dice, least, most, names) for _ in range(dice.choice([1, 1, 1, 2, 3])))


def a_part(dice: random.Random, least: int, most: int, names: list[str] | None) -> str:
    first = dice.randint(least, most)
    if names and dice.random() < 0.4:
        return dice.choice([str.upper, str.lower, str.capitalize])(names[(first - least) % len(names)])
    if dice.random() < 0.6:
        return str(first)
    last = dice.randint(first, most)
    step = f"/{dice.randint(1, most)}" if last > first and dice.random() < 0.5 else ""
    return f"{first}-{last}{step}" if last > first else str(first)


def a_line(dice: random.Random) -> str:
    fields = [a_field(dice, 0, 59), a_field(dice, 0, 23), a_field(dice, 1, 31)]
    return " ".join([*fields, a_field(dice, 1, 12, MONTHS), a_field(dice, 0, 7, WEEKDAYS)])


def ever_comes(job: Job) -> bool:
    """`30 2 30 2 *` does not, and both sides would look for it for years."""
    leap_year = [datetime(2028, 1, 1) + timedelta(days=day) for day in range(366)]  # noqa: DTZ001 (a day on the wall)
    return any(job.fits_day(day) for day in leap_year) and not (set(job.months) == {2} and set(job.days) == {29})


def test_random_lines_are_due_when_the_reference_runs_them() -> None:
    dice = random.Random(SEED)
    tried = 0
    while tried < EXPRESSIONS:
        line, zone = a_line(dice), ZoneInfo(dice.choice(ZONES))
        job = Job.read(line)
        if not ever_comes(job):
            continue
        tried += 1
        after = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=dice.randrange(3 * 366 * 86_400))
        expected = list(islice(walk(job, zone, after, after + 41 * 366 * DAY), FIRES))

        due = list(islice(CronTrigger(line, zone).due_times(after), len(expected)))

        assert expected, f"the reference finds nothing for {line!r}"
        assert due == expected, f"{line!r} in {zone} after {after}; FPBUS_CRON_SEED={SEED}"


# Every change of the clocks.


def changes_of(zone: ZoneInfo) -> Iterator[tuple[datetime, timedelta]]:
    """Yield when the clocks are set in 2024 to 2030, and by how much."""
    moment, end = datetime(2024, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)
    while moment < end:
        by = shown_at(moment + DAY, zone) - shown_at(moment, zone) - DAY
        if by:
            minutes = (moment + step * MINUTE for step in range(1, 1441))
            at = next(m for m in minutes if shown_at(m, zone) - shown_at(m - MINUTE, zone) != MINUTE)
            yield at, by
        moment += DAY


def lines_around(wall: datetime) -> list[str]:
    """Lines with fires at and around a time on the wall, fixed and not."""
    minute, hour, day = wall.minute, wall.hour, f"{wall.day} {wall.month}"
    return [
        f"{minute} {hour} * * *",
        f"{minute},{(minute + 20) % 60} {hour} {day} *",
        f"{(minute + 7) % 60} {hour} * * *",
        f"*/10 {hour} * * *",
        f"{minute} * * * *",
        f"{(minute + 13) % 60} */1 * * *",
        f"*/7 * {day} *",
        f"0-59/15 {hour} * * *",
        "0 0 * * *",
        "59 23 * * *",
    ]


@pytest.mark.parametrize("name", [*ZONES[1:], "America/Sao_Paulo", "Pacific/Auckland", "Africa/Casablanca"])
def test_every_change_of_the_clocks_is_as_in_the_reference(name: str) -> None:
    zone = ZoneInfo(name)
    for at, by in changes_of(zone):
        before = shown_at(at - MINUTE, zone) + MINUTE
        inside = [min(before, before + by) + share * abs(by) / 4 for share in range(-1, 5)]
        for line in {line for wall in inside for line in lines_around(wall)}:
            after, end = at - 4 * HOUR, at + 4 * HOUR
            expected = list(walk(Job.read(line), zone, after, end))

            due = list(takewhile(end.__ge__, CronTrigger(line, zone).due_times(after)))

            assert due == expected, f"{line!r} in {name} around {at}"
