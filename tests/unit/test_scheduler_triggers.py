"""When slots are due and which runs they are, with a clock that stands still."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import msgspec
import pytest

from fpbus.scheduler.handlers import (
    PlannedSchedule,
    ScheduleError,
    changes,
    on_waking,
    plan,
    run_id_of,
    slot_of,
)
from fpbus.scheduler.pending import Pending
from fpbus.scheduler.triggers import CronTrigger, IntervalTrigger, Trigger
from fpbus.schemas import IntervalFields, LimitsConfig, PipelineConfig, ProjectConfig, ScheduleConfig, is_run_id

BERLIN = ZoneInfo("Europe/Berlin")
MONDAY = datetime(2026, 11, 23, 12, tzinfo=UTC)
PROJECT = ProjectConfig(name="shop")


def a_project_with(**schedules: ScheduleConfig) -> dict[str, PipelineConfig]:
    return {name: PipelineConfig(schedule=schedule) for name, schedule in schedules.items()}


def a_schedule(**fields: float | str | bool | IntervalFields) -> PlannedSchedule:
    (schedule,) = plan(a_project_with(tick=ScheduleConfig(**fields)), PROJECT)  # type: ignore[arg-type]  # as in YAML
    return schedule


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


def test_due_times_of_an_interval_lie_on_a_grid_that_begins_in_1970() -> None:
    trigger = IntervalTrigger.parse("7m")

    due = list(islice(trigger.due_times(MONDAY), 50))

    assert all(moment.timestamp() % 420 == 0 for moment in due)
    assert {later - earlier for earlier, later in pairwise(due)} == {timedelta(minutes=7)}


def test_a_moment_on_the_grid_is_followed_by_the_next_one() -> None:
    trigger = IntervalTrigger.parse("1h")

    assert trigger.next_after(MONDAY) == MONDAY + timedelta(hours=1)
    assert trigger.next_after(MONDAY - timedelta(microseconds=1)) == MONDAY


# What a schedule may not be.


@pytest.mark.parametrize(
    ("schedule", "sentence"),
    [
        (
            ScheduleConfig(cron="61 * * * *"),
            "conf/pipelines/tick.yml: `schedule.cron` is '61 * * * *'; it must be five",
        ),
        (ScheduleConfig(cron=""), "`schedule.cron` is ''; it must be five fields"),
        (ScheduleConfig(cron="@reboot"), "`schedule.cron` is '@reboot'; it must be five fields"),
        (ScheduleConfig(cron="0 0 31 2 *"), "(bad day-of-month)"),
        (ScheduleConfig(cron="9" * 5000 + " * * * *"), "it must be five fields"),
        (
            ScheduleConfig(interval="1 hour"),
            "`schedule.interval` is '1 hour'; it must be seconds, parts such as '1h30m'",
        ),
        (ScheduleConfig(interval=0.5), "`schedule.interval` is 0.5; it must be between 1 second and 10 years."),
        (ScheduleConfig(interval=-60), "`schedule.interval` is -60; it must be between"),
        (ScheduleConfig(interval=float("nan")), "`schedule.interval` is nan; it must be between"),
        (ScheduleConfig(interval="9" * 400 + "w"), "it must be between"),
        (ScheduleConfig(interval=IntervalFields(minutes=0)), "`schedule.interval` is {}; it must be between"),
        (
            ScheduleConfig(interval="1h", timezone="Mars/Olympus"),
            "`schedule.timezone` is 'Mars/Olympus'; it must be an",
        ),
        (
            ScheduleConfig(timezone="UTC"),
            "`schedule` is {'timezone': 'UTC'}; it must have one of `cron`",
        ),
        (ScheduleConfig(cron="@daily", interval="1h"), "it must have one of `cron`, `interval` and `date`."),
    ],
)
def test_a_schedule_that_cannot_be_used_is_named_with_file_key_and_value(
    schedule: ScheduleConfig, sentence: str
) -> None:
    with pytest.raises(ScheduleError) as caught:
        plan(a_project_with(tick=schedule), PROJECT)

    assert sentence in str(caught.value)


def test_a_wrong_zone_of_the_project_is_blamed_on_the_project() -> None:
    with pytest.raises(ScheduleError, match=r"conf/project\.yml: `timezone` is 'Berlin'"):
        plan(a_project_with(tick=ScheduleConfig(interval=1)), msgspec.structs.replace(PROJECT, timezone="Berlin"))


# Plans.


def test_a_schedule_without_a_zone_counts_in_the_project_s() -> None:
    berlin = msgspec.structs.replace(PROJECT, timezone="Europe/Berlin")

    (schedule,) = plan(a_project_with(tick=ScheduleConfig(cron="0 5 * * *")), berlin)

    assert schedule.timezone == "Europe/Berlin"
    assert schedule.trigger == CronTrigger("0 5 * * *", BERLIN)


def test_only_what_changed_is_timed_anew() -> None:
    before = plan(a_project_with(a=ScheduleConfig(interval=1), b=ScheduleConfig(interval=1)), PROJECT)
    after = plan(a_project_with(a=ScheduleConfig(interval="1s"), b=ScheduleConfig(interval=2)), PROJECT)

    gone, new = changes(before, after)

    assert [one.id for one in gone] == ["b"]
    assert [one.id for one in new] == ["b"]


# Ids.


def test_two_planners_give_a_slot_the_same_id() -> None:
    one, other = a_schedule(cron="*/5 * * * *"), a_schedule(cron="*/5 * * * *")
    later = MONDAY + timedelta(minutes=12)

    of_one = [slot_of(one, due).run_id for due in islice(one.trigger.due_times(MONDAY), 10)]
    of_other = [slot_of(other, due).run_id for due in islice(other.trigger.due_times(later), 8)]

    assert of_one[2:] == of_other


def test_the_id_of_a_slot_never_changes() -> None:
    due = datetime(2026, 3, 29, 3, tzinfo=BERLIN)

    assert run_id_of("daily.sales", due) == "daily_sales-20260329T010000Z-cbbb089c826c"


@pytest.mark.parametrize("schedule_id", ["a", "a.b", "x" * 64, "größe", "_-"])
def test_every_schedule_has_legal_run_ids(schedule_id: str) -> None:
    assert is_run_id(run_id_of(schedule_id, MONDAY))


def test_schedules_whose_names_look_alike_have_ids_of_their_own() -> None:
    alike = ["a.b", "a_b", "a" * 40 + "x", "a" * 40 + "y"]

    assert len({run_id_of(name, MONDAY) for name in alike}) == len(alike)


def test_slots_within_one_second_have_ids_of_their_own() -> None:
    assert run_id_of("a", MONDAY) != run_id_of("a", MONDAY + timedelta(milliseconds=500))


# Late wake-ups.


def slots_told_to_apscheduler(trigger: Trigger, first: datetime, now: datetime) -> list[datetime]:
    told = [first]
    while (due := trigger.get_next_fire_time(told[-1], now)) is not None and due <= now:
        told.append(due)
    return told


def test_a_wake_up_within_a_minute_fires_every_slot() -> None:
    schedule = a_schedule(interval=1)
    told = slots_told_to_apscheduler(schedule.trigger, MONDAY, MONDAY + timedelta(seconds=30))

    fire, skipped = on_waking(schedule, told, MONDAY + timedelta(seconds=30))

    assert fire == [MONDAY + timedelta(seconds=second) for second in range(31)]
    assert skipped == 0


def test_a_later_wake_up_fires_the_last_minute_and_counts_the_rest() -> None:
    schedule = a_schedule(interval=1)
    now = MONDAY + timedelta(seconds=3600.5)
    told = slots_told_to_apscheduler(schedule.trigger, MONDAY, now)

    fire, skipped = on_waking(schedule, told, now)

    assert fire == [MONDAY + timedelta(seconds=second) for second in range(3541, 3601)]
    assert skipped == 3541


def test_a_wake_up_after_years_is_quick_and_stops_counting() -> None:
    schedule = a_schedule(interval=1)
    now = MONDAY + timedelta(days=3650)
    told = slots_told_to_apscheduler(schedule.trigger, MONDAY, now)

    fire, skipped = on_waking(schedule, told, now)

    assert len(told) < 65
    assert len(fire) <= 61
    assert skipped == 10_000


# Slots that nobody accepted.


def test_a_slot_is_asked_for_until_the_next_one_and_five_minutes_at_least() -> None:
    often, rarely = a_schedule(interval=1), a_schedule(cron="0 * * * *")

    assert slot_of(often, MONDAY).patience == timedelta(minutes=5)
    assert slot_of(rarely, MONDAY).patience == timedelta(hours=1)


def test_a_slot_is_never_asked_for_when_the_ledger_has_forgotten_it() -> None:
    hasty = msgspec.structs.replace(PROJECT, limits=LimitsConfig(dedup_window_s=60))

    (schedule,) = plan(a_project_with(tick=ScheduleConfig(interval="1w")), hasty)

    assert slot_of(schedule, MONDAY).patience == timedelta(seconds=60)


def test_an_unconfirmed_slot_is_sent_again_at_each_interval_and_given_up_in_the_end() -> None:
    slot = slot_of(a_schedule(interval=1), MONDAY)
    pending = Pending(resend_s=10)
    pending.add(slot, now_s=0)

    sent = {now_s: pending.send_again(now_s) for now_s in (9, 10, 19, 20)}

    assert sent == {9: [], 10: [slot], 19: [], 20: [slot]}
    assert pending.give_up(299) == []
    assert pending.give_up(300) == [slot]
    assert pending.send_again(300) == []


def test_a_confirmed_slot_is_not_sent_again() -> None:
    slot = slot_of(a_schedule(interval=1), MONDAY)
    pending = Pending(resend_s=10)
    pending.add(slot, now_s=0)

    pending.confirm(slot.run_id)
    pending.confirm("somebody-else-s")

    assert pending.send_again(10) == []


def test_a_rejection_is_told_once() -> None:
    slot = slot_of(a_schedule(interval=1), MONDAY)
    pending = Pending(resend_s=10)
    pending.add(slot, now_s=0)

    told = [pending.refuse("of something else"), pending.refuse(slot.digest), pending.refuse(slot.digest)]

    assert told == [None, slot, None]
    assert pending.send_again(10) == []
