"""What files and calls say, checked and compared with what is stored."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from fpbus.scheduler.handlers import reconcile
from fpbus.scheduler.planning import (
    PlannedSchedule,
    ScheduleError,
    planned,
    spec_of_call,
    spec_of_file,
    specs_of_files,
    timed,
)
from fpbus.scheduler.triggers import CronTrigger
from fpbus.schemas import (
    IntervalFields,
    PipelineConfig,
    ProjectConfig,
    PutSchedule,
    RunSettings,
    ScheduleConfig,
    ScheduleSpec,
)

BERLIN = ZoneInfo("Europe/Berlin")
MONDAY = datetime(2026, 11, 23, 12, tzinfo=UTC)
PROJECT = ProjectConfig(name="shop")


def read(**schedules: ScheduleConfig) -> list[ScheduleSpec]:
    return specs_of_files({name: PipelineConfig(schedule=schedule) for name, schedule in schedules.items()}, PROJECT)


def plan_of(**fields: Any) -> PlannedSchedule:
    return planned(ScheduleSpec(id="tick", pipeline="tick", **fields))


def put(schedule: ScheduleConfig | None = None, **fields: Any) -> ScheduleSpec:
    return spec_of_call(PutSchedule(pipeline="tick", **fields), PipelineConfig(schedule=schedule), PROJECT)


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
        (ScheduleConfig(timezone="UTC"), "`schedule` is {}; it must have one of `cron`, `interval` and `date`"),
        (ScheduleConfig(cron="@daily", interval="1h"), "it must have one of `cron`, `interval` and `date`."),
        (ScheduleConfig(date="tomorrow"), "`schedule.date` is 'tomorrow'; it must be an ISO time"),
        (ScheduleConfig(interval=60, start="soon"), "`schedule.start` is 'soon'; it must be an ISO time"),
        (
            ScheduleConfig(interval=60, start="2026-02-01", end="2026-01-01"),
            "`schedule.end` is '2026-01-01'; it must not be before `start`.",
        ),
    ],
)
def test_a_schedule_that_cannot_be_used_is_named_with_file_key_and_value(
    schedule: ScheduleConfig, sentence: str
) -> None:
    with pytest.raises(ScheduleError) as caught:
        read(tick=schedule)

    assert sentence in str(caught.value)


def test_a_wrong_zone_of_the_project_is_blamed_on_the_project() -> None:
    with pytest.raises(ScheduleError, match=r"conf/project\.yml: `timezone` is 'Berlin'"):
        spec_of_file("tick", ScheduleConfig(interval=1), msgspec.structs.replace(PROJECT, timezone="Berlin"))


def test_two_pipelines_may_not_give_their_schedules_one_id() -> None:
    with pytest.raises(ScheduleError, match=r"tock\.yml: `schedule\.id` is 'tick'; the schedule of 'tick' has that id"):
        read(tick=ScheduleConfig(interval=1), tock=ScheduleConfig(interval=1, id="tick"))


def test_a_call_is_told_the_key_alone() -> None:
    with pytest.raises(ScheduleError, match=r"^`cron` is 'x'; it must be five fields") as caught:
        put(cron="x")

    assert caught.value.key == "cron"


# What files say.


def test_a_schedule_without_a_zone_counts_in_the_project_s() -> None:
    berlin = msgspec.structs.replace(PROJECT, timezone="Europe/Berlin")

    spec = spec_of_file("tick", ScheduleConfig(cron="0 5 * * *"), berlin)

    assert spec.timezone == "Europe/Berlin"
    assert planned(spec).trigger == CronTrigger("0 5 * * *", BERLIN)


def test_a_disabled_schedule_is_not_wanted() -> None:
    assert [spec.id for spec in read(a=ScheduleConfig(interval=1, enabled=False), b=ScheduleConfig(interval=1))] == [
        "b"
    ]


def test_run_options_in_a_schedule_are_its_settings() -> None:
    (spec,) = read(tick=ScheduleConfig(interval=1, inputs={"x": 1}, executor="threadpool", max_retries=2))

    assert spec.settings == RunSettings(inputs={"x": 1}, executor="threadpool", max_retries=2)


def test_every_setting_of_a_run_may_stand_in_a_schedule() -> None:
    assert set(RunSettings.__struct_fields__) <= set(ScheduleConfig.__struct_fields__)


# What calls say.


def test_an_id_that_nobody_gave_is_derived_from_pipeline_and_trigger() -> None:
    hourly, daily = put(cron="@hourly"), put(cron="@daily")

    assert hourly.id == put(cron="@hourly", settings=RunSettings(inputs={"x": 1})).id
    assert hourly.id.startswith("tick-cron-")
    assert len({hourly.id, daily.id, put(cron="@daily", timezone="Europe/Berlin").id, put(interval=60).id}) == 4


def test_a_call_without_a_trigger_activates_the_schedule_of_the_file() -> None:
    config = ScheduleConfig(cron="@daily", inputs={"x": 1})

    assert put(config) == spec_of_file("tick", config, PROJECT)


def test_what_a_call_says_lies_over_the_schedule_of_the_file() -> None:
    config = ScheduleConfig(cron="@daily", inputs={"x": 1, "y": 1})

    spec = put(config, id="mine", misfire="all", settings=RunSettings(inputs={"y": 2}))

    assert (spec.id, spec.cron, spec.misfire, spec.origin) == ("mine", "@daily", "all", "call")
    assert spec.settings.inputs == {"x": 1, "y": 2}


def test_a_call_needs_a_trigger_from_somewhere() -> None:
    with pytest.raises(
        ScheduleError, match="it must have one of `cron`, `interval` and `date`, as the pipeline's file"
    ):
        put()


# Since when a schedule counts.


def test_an_interval_counts_from_its_start_or_else_from_when_it_was_stored() -> None:
    stored = plan_of(interval=3600, since=MONDAY - timedelta(minutes=5))
    with_start = plan_of(interval=3600, start="2026-11-23T11:50:00", since=MONDAY)

    assert stored.trigger.next_after(MONDAY) == MONDAY + timedelta(minutes=55)
    assert with_start.trigger.next_after(MONDAY) == MONDAY + timedelta(minutes=50)


def test_a_start_without_a_zone_is_in_the_schedules() -> None:
    plan = plan_of(cron="0 * * * *", start="2026-11-24T10:00", timezone="Europe/Berlin")

    assert list(islice(plan.trigger.due_times(MONDAY), 1)) == [datetime(2026, 11, 24, 9, tzinfo=UTC)]


def test_since_stays_while_the_timing_does() -> None:
    stored = timed(put(interval=60, id="a"), None, MONDAY)
    later = MONDAY + timedelta(hours=1)

    assert stored.since == MONDAY
    assert timed(put(interval=60, id="a", misfire="all"), stored, later).since == MONDAY
    assert timed(put(interval=61, id="a"), stored, later).since == later


# Files and store.


def a_store(*specs: ScheduleSpec) -> dict[str, ScheduleSpec]:
    return {spec.id: timed(spec, None, MONDAY) for spec in specs}


def test_a_reconciliation_tells_what_becomes_of_each_id() -> None:
    stored = a_store(
        *read(same=ScheduleConfig(interval=1), edited=ScheduleConfig(interval=1), gone=ScheduleConfig(interval=1)),
        msgspec.structs.replace(put(interval=1), id="called"),
        msgspec.structs.replace(put(interval=1), id="apart"),
    )
    wanted = read(
        same=ScheduleConfig(interval=1),
        edited=ScheduleConfig(interval=2),
        new=ScheduleConfig(interval=1),
        called=ScheduleConfig(interval=3),
    )

    result = reconcile(wanted, stored, MONDAY, overwrite=False)

    report = result.report
    assert (report.added, report.changed, report.removed) == (["new"], ["edited"], ["gone"])
    assert (report.unchanged, report.conflicts) == (["same"], ["called"])
    assert sorted(spec.id for spec in result.put) == ["edited", "new"]
    assert result.remove == ["gone"]


def test_with_overwrite_a_file_replaces_what_a_call_has_made() -> None:
    stored = a_store(msgspec.structs.replace(put(interval=1), id="tick"))

    result = reconcile(read(tick=ScheduleConfig(interval=3)), stored, MONDAY, overwrite=True)

    assert result.report.changed == ["tick"]
    assert result.put[0].origin == "yaml"


def test_a_paused_schedule_stays_paused_when_its_file_is_edited() -> None:
    stored = {
        name: msgspec.structs.replace(spec, paused=True)
        for name, spec in a_store(*read(a=ScheduleConfig(interval=1))).items()
    }

    unedited = reconcile(read(a=ScheduleConfig(interval=1)), stored, MONDAY, overwrite=False)
    edited = reconcile(read(a=ScheduleConfig(interval=2)), stored, MONDAY, overwrite=False)

    assert unedited.report.unchanged == ["a"]
    assert [spec.paused for spec in edited.put] == [True]
