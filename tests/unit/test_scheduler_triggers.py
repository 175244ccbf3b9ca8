"""When something is due, with a clock that stands still. The reference for cron is in test_scheduler_cron.py."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest

from fpbus.scheduler.planning import trigger_of_text
from fpbus.scheduler.triggers import Bounded, CronTrigger, DateTrigger, IntervalTrigger, Trigger, TriggerError
from fpbus.schemas import IntervalFields

BERLIN = ZoneInfo("Europe/Berlin")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")
MONDAY = datetime(2026, 11, 23, 12, tzinfo=UTC)


def due_in_utc(trigger: Trigger, after: datetime, count: int) -> list[str]:
    return [due.strftime("%a %m-%d %H:%M") for due in islice(trigger.due_times(after), count)]


# Cron.


@pytest.mark.parametrize("weekday", ["0", "7", "sun", "SUN"])
def test_sunday_is_0_and_7_and_sun(weekday: str) -> None:
    trigger = CronTrigger(f"0 0 * * {weekday}", UTC)

    assert due_in_utc(trigger, MONDAY, 2) == ["Sun 11-29 00:00", "Sun 12-06 00:00"]


def test_1_to_5_are_monday_to_friday() -> None:
    trigger = CronTrigger("0 5 * * 1-5", UTC)

    days = [text.split()[0] for text in due_in_utc(trigger, MONDAY, 5)]

    assert days == ["Tue", "Wed", "Thu", "Fri", "Mon"]


def test_names_of_months_and_weekdays_are_understood() -> None:
    trigger = CronTrigger("30 6 * dec mon,Fri", UTC)

    assert due_in_utc(trigger, MONDAY, 3) == ["Fri 12-04 06:30", "Mon 12-07 06:30", "Fri 12-11 06:30"]


def test_day_of_month_and_weekday_are_alternatives() -> None:
    trigger = CronTrigger("0 0 1 * fri", UTC)

    assert due_in_utc(trigger, MONDAY, 3) == ["Fri 11-27 00:00", "Tue 12-01 00:00", "Fri 12-04 00:00"]


def test_a_day_field_that_begins_with_a_star_has_to_match_too() -> None:
    trigger = CronTrigger("0 0 */2 * fri", UTC)

    assert due_in_utc(trigger, MONDAY, 2) == ["Fri 11-27 00:00", "Fri 12-11 00:00"]


@pytest.mark.parametrize(
    ("word", "first"),
    [
        ("@yearly", "Fri 01-01 00:00"),
        ("@annually", "Fri 01-01 00:00"),
        ("@monthly", "Tue 12-01 00:00"),
        ("@weekly", "Sun 11-29 00:00"),
        ("@daily", "Tue 11-24 00:00"),
        ("@Midnight", "Tue 11-24 00:00"),
        ("@hourly", "Mon 11-23 13:00"),
    ],
)
def test_words_stand_for_five_fields(word: str, first: str) -> None:
    assert due_in_utc(CronTrigger(word, UTC), MONDAY, 1) == [first]


def test_cron_counts_in_its_zone() -> None:
    trigger = CronTrigger("0 5 * * *", BERLIN)

    assert due_in_utc(trigger, MONDAY, 1) == ["Tue 11-24 04:00"]


def test_a_time_that_spring_leaves_out_is_due_when_the_clock_has_jumped() -> None:
    saturday = datetime(2026, 3, 28, 12, tzinfo=UTC)

    due = due_in_utc(CronTrigger("30 2 * * *", BERLIN), saturday, 2)

    assert due == ["Sun 03-29 01:00", "Mon 03-30 00:30"]  # 03:00 and 02:30 summer time


def test_a_time_that_autumn_has_twice_is_due_once() -> None:
    saturday = datetime(2026, 10, 24, 12, tzinfo=UTC)

    due = due_in_utc(CronTrigger("30 2 * * *", BERLIN), saturday, 2)

    assert due == ["Sun 10-25 00:30", "Mon 10-26 01:30"]  # 02:30 summer time, 02:30 winter time


def test_a_scheduler_that_starts_in_the_doubled_hour_does_not_fire_its_first_pass() -> None:
    second_pass = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)  # 02:10 winter time

    due = due_in_utc(CronTrigger("30 2 * * *", BERLIN), second_pass, 1)

    assert due == ["Mon 10-26 01:30"]


def test_an_hour_field_with_a_star_follows_the_true_hours() -> None:
    saturday = datetime(2026, 10, 24, 23, tzinfo=UTC)

    due = due_in_utc(CronTrigger("30 * * * *", BERLIN), saturday, 4)

    assert due == ["Sat 10-24 23:30", "Sun 10-25 00:30", "Sun 10-25 01:30", "Sun 10-25 02:30"]


@pytest.mark.parametrize("night", [datetime(2026, 3, 28, 22, tzinfo=UTC), datetime(2026, 10, 24, 22, tzinfo=UTC)])
@pytest.mark.parametrize("cron", ["30 2 * * *", "*/15 * * * *", "15,45 1-3 * * *", "0 0 * * *", "*/20 2 * * *"])
def test_due_times_do_not_depend_on_when_one_begins_to_count(cron: str, night: datetime) -> None:
    trigger = CronTrigger(cron, BERLIN)
    moments = [night + timedelta(minutes=7 * step) for step in range(60)]
    chain = list(islice(trigger.due_times(night), 60))

    from_each_moment = [trigger.next_after(moment) for moment in moments]

    assert from_each_moment == [next(due for due in chain if due > moment) for moment in moments]


# Intervals.


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (90, 90),
        (1.5, 1.5),
        ("90s", 90),
        ("1h30m", 5400),
        ("1d6h", 108_000),
        ("2w", 1_209_600),
        (" 1h 30m ", 5400),
        ("1.5h", 5400),
        (IntervalFields(hours=4, minutes=30), 16_200),
    ],
)
def test_an_interval_is_read_from_each_of_its_forms(value: float | str | IntervalFields, seconds: float) -> None:
    assert IntervalTrigger.parse(value) == IntervalTrigger(timedelta(seconds=seconds))


def test_an_interval_is_told_in_its_parts() -> None:
    assert str(IntervalTrigger.parse(788_645.5)) == "every 1w2d3h4m5.5s"


def test_due_times_of_an_interval_lie_on_a_grid_that_begins_at_its_start() -> None:
    start = MONDAY - timedelta(minutes=10, seconds=3)
    trigger = IntervalTrigger.parse("7m", start)

    due = list(islice(trigger.due_times(MONDAY), 50))

    assert due[0] == start + timedelta(minutes=14)
    assert {later - earlier for earlier, later in pairwise(due)} == {timedelta(minutes=7)}


def test_an_interval_is_due_at_its_start_and_never_before() -> None:
    trigger = IntervalTrigger.parse("1h", MONDAY)

    assert list(islice(trigger.due_times(MONDAY - timedelta(days=1)), 2)) == [MONDAY, MONDAY + timedelta(hours=1)]
    assert trigger.next_after(MONDAY) == MONDAY + timedelta(hours=1)


# Bounds.


def test_nothing_is_due_before_the_start_or_after_the_end() -> None:
    start, end = MONDAY + timedelta(days=1), MONDAY + timedelta(days=3)

    trigger = Bounded(CronTrigger("0 12 * * *", UTC), start, end)

    assert due_in_utc(trigger, MONDAY - timedelta(days=9), 9) == [
        "Tue 11-24 12:00",
        "Wed 11-25 12:00",
        "Thu 11-26 12:00",
    ]


# Notes.


@pytest.mark.parametrize(
    ("cron", "zone", "after", "notes"),
    [
        (
            "30 2 * * *",
            BERLIN,
            datetime(2026, 3, 28, 12, tzinfo=UTC),
            ["skipped hour: 02:30 does not exist on 2026-03-29, runs at 03:00"],
        ),
        (
            "0,30 2 * * *",
            BERLIN,
            datetime(2026, 3, 28, 12, tzinfo=UTC),
            [
                "skipped hour: 02:00 does not exist on 2026-03-29, runs at 03:00",
                "skipped hour: 02:30 does not exist on 2026-03-29, runs at 03:00",
            ],
        ),
        ("0 3 * * *", BERLIN, datetime(2026, 3, 28, 12, tzinfo=UTC), []),
        (
            "30 2 * * *",
            BERLIN,
            datetime(2026, 10, 24, 12, tzinfo=UTC),
            ["doubled hour: 02:30 comes twice on 2026-10-25, counts once"],
        ),
        (
            "30 * * * *",
            BERLIN,
            datetime(2026, 10, 25, 0, 10, tzinfo=UTC),
            ["doubled hour: 02:30 comes twice on 2026-10-25, counts each time"],
        ),
        (
            "15 2 * * *",
            LORD_HOWE,
            datetime(2026, 10, 3, 12, tzinfo=UTC),
            ["skipped hour: 02:15 does not exist on 2026-10-04, runs at 02:30"],
        ),
        ("30 2 * * *", BERLIN, MONDAY, []),
    ],
)
def test_a_due_time_says_what_is_odd_about_it(cron: str, zone: ZoneInfo, after: datetime, notes: list[str]) -> None:
    trigger = CronTrigger(cron, zone)

    due = trigger.next_after(after)

    assert due is not None
    assert trigger.notes(due) == notes


# Expressions as people type them.


@pytest.mark.parametrize(
    ("text", "trigger"),
    [
        ("0 5 * * mon", CronTrigger("0 5 * * mon", BERLIN)),
        (" @daily ", CronTrigger("@daily", BERLIN)),
        ("1h30m", IntervalTrigger(timedelta(hours=1, minutes=30), MONDAY)),
        ("90", IntervalTrigger(timedelta(seconds=90), MONDAY)),
        ('{"hours": 4}', IntervalTrigger(timedelta(hours=4), MONDAY)),
        ("2026-12-01T10:00", DateTrigger(datetime(2026, 12, 1, 9, tzinfo=UTC))),
        ("2026-12-01T10:00Z", DateTrigger(datetime(2026, 12, 1, 10, tzinfo=UTC))),
    ],
)
def test_an_expression_is_recognised_for_what_it_is(text: str, trigger: Trigger) -> None:
    assert trigger_of_text(text, BERLIN, MONDAY) == trigger


def test_json_fields_of_cron_are_an_expression() -> None:
    trigger = trigger_of_text('{"hour": 5, "day_of_week": "mon-fri"}', UTC, MONDAY)  # type: ignore[arg-type]  # any zone

    assert due_in_utc(trigger, MONDAY, 1) == ["Tue 11-24 05:00"]


@pytest.mark.parametrize("text", ["tomorrow", "5 fortnights", '{"fortnights": 1}', "2026-13-01", "{", "1h30", "0.2s"])
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(TriggerError):
        trigger_of_text(text, BERLIN, MONDAY)
