"""Which runs slots are, what is still fired after a pause, and how far a schedule has come."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from fpbus.scheduler.agenda import Agenda
from fpbus.scheduler.handlers import Slot, latest, on_waking, run_id_of, slot_of
from fpbus.scheduler.pending import Pending
from fpbus.scheduler.planning import PlannedSchedule, planned
from fpbus.scheduler.progress import Progress
from fpbus.scheduler.store import NO_ERROR
from fpbus.scheduler.triggers import CronTrigger
from fpbus.schemas import Priority, RunRequest, RunSettings, ScheduleSpec, is_run_id

BERLIN = ZoneInfo("Europe/Berlin")
MONDAY = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def a_schedule(name: str = "tick", **fields: Any) -> PlannedSchedule:
    return planned(ScheduleSpec(id=name, pipeline="tick", since=MONDAY - DAY, **fields))


def a_slot(due: datetime = MONDAY, **fields: Any) -> Slot:
    return slot_of(a_schedule(**fields), due, DAY)


def seconds_after(moment: datetime, *seconds: int) -> list[datetime]:
    return [moment + timedelta(seconds=second) for second in seconds]


# Ids.


def test_two_planners_give_a_slot_the_same_id() -> None:
    one, other = a_schedule(cron="*/5 * * * *"), a_schedule(cron="*/5 * * * *")
    later = MONDAY + timedelta(minutes=12)

    of_one = [slot_of(one, due, DAY).run_id for due in islice(one.trigger.due_times(MONDAY), 10)]
    of_other = [slot_of(other, due, DAY).run_id for due in islice(other.trigger.due_times(later), 8)]

    assert of_one[2:] == of_other


def test_the_id_of_a_slot_never_changes() -> None:
    due = datetime(2026, 3, 29, 3, tzinfo=BERLIN)

    assert run_id_of("daily.sales", due) == "daily_sales-20260329T010000Z-cbbb089c826c"


@pytest.mark.parametrize("schedule_id", ["a", "a.b", "x" * 128, "a@b:c", "_-"])
def test_every_schedule_has_legal_run_ids(schedule_id: str) -> None:
    assert is_run_id(run_id_of(schedule_id, MONDAY))


def test_schedules_whose_names_look_alike_have_ids_of_their_own() -> None:
    alike = ["a.b", "a_b", "a" * 40 + "x", "a" * 40 + "y"]

    assert len({run_id_of(name, MONDAY) for name in alike}) == len(alike)


def test_slots_within_one_second_have_ids_of_their_own() -> None:
    assert run_id_of("a", MONDAY) != run_id_of("a", MONDAY + timedelta(milliseconds=500))


# Requests.


def test_a_schedule_without_settings_asks_by_id_alone() -> None:
    slot = a_slot(interval=60)

    assert slot.request == RunRequest(run_id=slot.run_id)
    assert not slot.by_call


def test_inputs_and_priority_travel_in_the_message() -> None:
    slot = a_slot(interval=60, settings=RunSettings(inputs={"x": 1}), priority=Priority.HIGH, key="boiler")

    assert slot.request == RunRequest(run_id=slot.run_id, inputs={"x": 1}, priority=Priority.HIGH, key="boiler")
    assert not slot.by_call


def test_what_a_message_may_not_set_is_asked_for_by_call() -> None:
    assert a_slot(interval=60, settings=RunSettings(executor="threadpool")).by_call
    assert a_slot(interval=60, settings=RunSettings(max_retries=0)).by_call


def test_jitter_is_the_same_for_everyone_and_leaves_the_id_alone() -> None:
    calm = [a_slot(due, interval=60) for due in seconds_after(MONDAY, *range(0, 6000, 60))]
    slots = [a_slot(due, interval=60, jitter_s=30) for due in seconds_after(MONDAY, *range(0, 6000, 60))]
    again = [a_slot(due, interval=60, jitter_s=30) for due in seconds_after(MONDAY, *range(0, 6000, 60))]

    delays = [(slot.request.not_before or slot.due) - slot.due for slot in slots]
    assert slots == again
    assert [slot.run_id for slot in slots] == [slot.run_id for slot in calm]
    assert (
        timedelta() <= min(delays) < timedelta(seconds=5) < timedelta(seconds=25) < max(delays) <= timedelta(seconds=30)
    )


# What is still fired after a pause.


@pytest.mark.parametrize("misfire", ["all", "last", "none"])
def test_a_thread_that_is_a_little_late_fires_every_slot(misfire: str) -> None:
    schedule = a_schedule(interval=1, misfire=misfire)

    waking = on_waking(schedule, MONDAY, MONDAY + timedelta(seconds=2.5))

    assert (waking.fire, waking.skipped) == (seconds_after(MONDAY, 1, 2), 0)


@pytest.mark.parametrize(
    ("policy", "fired"),
    [
        ({"misfire": "all"}, list(range(1, 31))),
        ({"misfire": "all", "grace_s": 10}, list(range(21, 31))),
        ({"misfire": "all", "catch_up": 3}, [28, 29, 30]),
        ({"misfire": "all", "catch_up": 0}, []),
        ({"misfire": "last"}, [30]),
        ({"misfire": "none"}, [29, 30]),
    ],
)
def test_after_a_pause_the_policy_decides(policy: dict[str, Any], fired: list[int]) -> None:
    schedule = a_schedule(interval=1, **policy)

    waking = on_waking(schedule, MONDAY, MONDAY + timedelta(seconds=30.5))

    assert waking.fire == seconds_after(MONDAY, *fired)
    assert waking.skipped == 30 - len(fired)


def test_the_last_slot_is_too_old_when_grace_is_over() -> None:
    now = MONDAY + timedelta(hours=3)

    assert on_waking(a_schedule(cron="0 13 * * *", grace_s=3600), MONDAY, now).fire == []
    assert on_waking(a_schedule(cron="0 13 * * *", grace_s=7201), MONDAY, now).fire == seconds_after(MONDAY, 3600)


def test_a_wake_up_after_years_finds_the_latest_slots_and_stops_counting() -> None:
    schedule = a_schedule(cron="* * * * *", misfire="all", catch_up=5)
    now = MONDAY + timedelta(days=3650)

    waking = on_waking(schedule, MONDAY, now)

    assert waking.fire == [now - timedelta(minutes=minute) for minute in (4, 3, 2, 1, 0)]
    assert waking.skipped == 1000


@pytest.mark.parametrize("cron", ["0 0 29 2 *", "30 2 * * *", "* * * * *"])
def test_the_latest_slots_are_those_at_the_end_of_all(cron: str) -> None:
    trigger = CronTrigger(cron, BERLIN)
    until = MONDAY + timedelta(days=2)
    after = until - timedelta(days=5 if cron == "* * * * *" else 5000)
    every = [due for due in islice(trigger.due_times(after), 10_000) if due <= until]

    assert latest(trigger, after, until, 3) == every[-3:]


# Who is next.


def test_the_agenda_yields_what_is_due_and_goes_on_from_there() -> None:
    agenda = Agenda()
    agenda.put(a_schedule("slow", cron="0 13 * * *"), MONDAY)
    agenda.put(a_schedule("quick", interval=60), MONDAY)

    due = [schedule.id for schedule, _ in agenda.pop_due(MONDAY + timedelta(seconds=61))]

    assert due == ["quick"]
    assert agenda.head() == MONDAY + timedelta(seconds=120)


def test_a_schedule_that_was_removed_or_changed_is_due_no_more_as_it_was() -> None:
    agenda = Agenda()
    agenda.put(a_schedule("a", interval=60), MONDAY)
    agenda.put(a_schedule("b", interval=60), MONDAY)
    agenda.put(a_schedule("b", cron="0 13 * * *"), MONDAY)
    agenda.remove("a")
    agenda.remove("a")

    assert agenda.head() == MONDAY + timedelta(hours=1)
    assert list(agenda.pop_due(MONDAY + timedelta(seconds=61))) == []


def test_what_was_dealt_with_is_not_due_again_when_the_store_is_behind() -> None:
    agenda = Agenda()
    agenda.put(a_schedule(interval=60), MONDAY)
    list(agenda.pop_due(MONDAY + timedelta(seconds=60)))

    agenda.put(a_schedule(interval=60, misfire="all"), MONDAY)

    assert agenda.head() == MONDAY + timedelta(seconds=120)


# Slots that nobody accepted.


def test_a_slot_is_asked_for_until_the_next_one_and_five_minutes_at_least() -> None:
    assert a_slot(interval=1).patience == timedelta(minutes=5)
    assert a_slot(cron="0 * * * *").patience == timedelta(hours=1)


def test_a_slot_is_never_asked_for_when_the_ledger_has_forgotten_it() -> None:
    slot = slot_of(a_schedule(interval="1w"), MONDAY, timedelta(seconds=60))

    assert slot.patience == timedelta(seconds=60)


def test_an_unconfirmed_slot_is_sent_again_at_each_interval_and_given_up_in_the_end() -> None:
    slot = a_slot(interval=1)
    pending = Pending(resend_s=10)
    pending.add(slot, now_s=0)

    sent = {now_s: pending.send_again(now_s) for now_s in (9, 10, 19, 20)}

    assert sent == {9: [], 10: [slot], 19: [], 20: [slot]}
    assert pending.give_up(299) == []
    assert pending.give_up(300) == [slot]
    assert pending.send_again(300) == []


def test_a_settled_slot_is_told_once_and_not_sent_again() -> None:
    slot = a_slot(interval=1)
    pending = Pending(resend_s=10)
    pending.add(slot, now_s=0)

    told = [pending.settle("somebody-else-s"), pending.settle(slot.run_id), pending.settle(slot.run_id)]

    assert told == [None, slot, None]
    assert pending.send_again(10) == []


def test_a_rejection_names_its_slot_by_digest() -> None:
    slot = a_slot(interval=1)
    pending = Pending(resend_s=10)
    pending.add(slot, now_s=0)

    assert (pending.find("of something else"), pending.find(slot.digest)) == (None, slot.run_id)


# How far a schedule has come.


def test_a_schedule_has_come_as_far_as_its_oldest_open_slot() -> None:
    progress = Progress()
    first, second = (a_slot(due, interval=60) for due in seconds_after(MONDAY, 60, 120))
    progress.passed("tick", MONDAY + timedelta(seconds=121), [first.due, second.due])

    (none_settled,) = progress.take()
    progress.settled(second)
    (second_settled,) = progress.take()
    progress.settled(first, "not_allowed: no")
    (all_settled,) = progress.take()

    assert none_settled.fired_until < first.due
    assert none_settled.last_error is None
    assert (second_settled.fired_until < first.due, second_settled.last_fired) == (True, second.due)
    assert second_settled.last_error == NO_ERROR
    assert all_settled.fired_until == MONDAY + timedelta(seconds=121)
    assert all_settled.last_error == "not_allowed: no"
    assert progress.take() == []


def test_marks_that_could_not_be_stored_are_told_again() -> None:
    progress = Progress()
    slot = a_slot(interval=60)
    progress.passed("tick", MONDAY, [slot.due])
    progress.settled(slot)
    marks = progress.take()

    progress.put_back(marks)

    assert progress.take() == marks
