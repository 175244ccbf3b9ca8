from datetime import UTC, datetime
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from fpbus.scheduler.cron_fields import CronFieldsTrigger
from fpbus.scheduler.triggers import DateTrigger, TriggerError
from fpbus.schemas import CronFields

BERLIN = ZoneInfo("Europe/Berlin")
MONDAY = datetime(2026, 11, 23, 8, tzinfo=UTC)


def local_times(count: int, **fields: int | str) -> list[str]:
    trigger = CronFieldsTrigger.of(CronFields(**fields), BERLIN)
    return [due.astimezone(BERLIN).strftime("%Y-%m-%d %H:%M:%S") for due in islice(trigger.due_times(MONDAY), count)]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"minute": "0", "hour": "*/3", "day_of_week": "mon-fri"}, ["2026-11-23 12:00:00", "2026-11-23 15:00:00"]),
        ({"hour": 3}, ["2026-11-24 03:00:00", "2026-11-25 03:00:00"]),
        ({"second": "*/20"}, ["2026-11-23 09:00:20", "2026-11-23 09:00:40"]),
        ({"day_of_week": "sun"}, ["2026-11-29 00:00:00", "2026-12-06 00:00:00"]),
        ({"day_of_week": 0}, ["2026-11-29 00:00:00", "2026-12-06 00:00:00"]),
        ({"day_of_week": 7}, ["2026-11-29 00:00:00", "2026-12-06 00:00:00"]),
        ({"day_of_week": 1}, ["2026-11-30 00:00:00", "2026-12-07 00:00:00"]),
        ({"week": 1, "day_of_week": "mon"}, ["2027-01-04 00:00:00", "2028-01-03 00:00:00"]),
        ({"year": "2027,2029"}, ["2027-01-01 00:00:00", "2029-01-01 00:00:00"]),
        ({"month": "feb", "day": 29}, ["2028-02-29 00:00:00", "2032-02-29 00:00:00"]),
        ({"day": 1, "day_of_week": "sun"}, ["2027-08-01 00:00:00", "2028-10-01 00:00:00"]),
    ],
)
def test_parts_left_out_are_any_above_and_least_below_the_smallest(
    fields: dict[str, int | str], expected: list[str]
) -> None:
    assert local_times(2, **fields) == expected


def test_a_year_that_is_over_never_comes() -> None:
    assert local_times(2, year=2020) == []


def test_a_rare_day_with_seconds_is_found() -> None:
    assert local_times(1, second="*", week=40, year=2040) == ["2040-10-01 00:00:00"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"hour": 24},
        {"day_of_week": "someday"},
        {"week": 54},
        {"year": "next"},
        {"month": 2, "day": 30},
        {"day_of_week": 8},
    ],
)
def test_what_is_no_time_is_refused(fields: dict[str, int | str]) -> None:
    with pytest.raises(TriggerError):
        CronFieldsTrigger.of(CronFields(**fields), BERLIN)


def test_a_date_without_a_zone_is_in_the_schedules_zone_and_due_once() -> None:
    trigger = DateTrigger.parse("2026-12-01T10:00:00", BERLIN)
    assert list(trigger.due_times(MONDAY)) == [datetime(2026, 12, 1, 9, tzinfo=UTC)]
    assert list(trigger.due_times(trigger.date)) == []


def test_what_is_no_date_is_refused() -> None:
    with pytest.raises(TriggerError, match="ISO time"):
        DateTrigger.parse("tomorrow", BERLIN)
