"""What follows from what the doctor has seen: sentences and exit codes, without any server."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fpbus.doctor import Finding, Ground, exit_code, guarantees_of
from fpbus.doctor.access import accounts_for
from fpbus.doctor.disk import look_at_disks
from fpbus.doctor.findings import Area, Status
from fpbus.doctor.guarantees import Guarantee
from fpbus.doctor.services import findings_of
from fpbus.lifecycle import Settings
from fpbus.schemas import LimitsConfig, PipelineConfig, RunConfig, ScheduleConfig, ServiceStatus, TriggerConfig
from fpbus.schemas.windows import BatchWindow, DebounceWindow, LatestWindow, ThrottleWindow, WindowConfig
from fpbus.supervisor.rights import OPERATOR, SERVICES

SOLID = Ground(sessions=True, redelivery=True, broker_disk=True, redis_disk=True, evicts=False)
NOW = datetime(2026, 11, 23, tzinfo=UTC)


def guarantee(of: str, config: PipelineConfig, ground: Ground = SOLID) -> Guarantee:
    return next(one for one in guarantees_of("boiler", config, LimitsConfig(), ground) if one.of == of)


def of_trigger(ground: Ground = SOLID, **trigger: Any) -> Guarantee:
    return guarantee("t", PipelineConfig(triggers=[TriggerConfig(topic="t", **trigger)]), ground)


def test_every_way_into_a_pipeline_has_a_line_and_its_execution_too() -> None:
    config = PipelineConfig(
        triggers=[TriggerConfig(topic="a"), TriggerConfig(topic="b/{x}")], schedule=ScheduleConfig(cron="0 3 * * *")
    )

    found = guarantees_of("boiler", config, LimitsConfig(), SOLID)

    assert [one.of for one in found] == ["pipelines/boiler/run", "a", "b/{x}", "schedule", "execution"]
    assert all(one.why.endswith(".") and "\n" not in one.why for one in found)


def test_with_a_run_id_and_solid_ground_a_run_is_made_once_and_without_one_at_least_once() -> None:
    numbered, unnumbered = of_trigger(run_id="payload.seq"), of_trigger()

    assert numbered.level == "effectively once"
    assert "one run id are one run, until 24 h after its end" in numbered.why
    assert unnumbered.level == "at least once"
    assert "no `run_id`" in unnumbered.why
    assert guarantee("pipelines/boiler/run", PipelineConfig()).level == "effectively once"


def test_qos_0_is_best_effort_on_any_ground() -> None:
    found = of_trigger(qos=0, run_id="payload.seq")

    assert found.level == "best effort"
    assert "qos: 0" in found.why


@pytest.mark.parametrize(
    ("ground", "words"),
    [
        (Ground(sessions=False, redis_disk=True), "keeps nothing while the dispatcher is away"),
        (Ground(sessions=True, redelivery=False, redis_disk=True), "does not send again"),
        (Ground(sessions=True, redelivery=True, queue_limit=1020, redis_disk=True), "keeps 1,020 messages"),
        (Ground(sessions=True, redelivery=True, broker_disk=False), "loses what it holds when it restarts"),
        (Ground(redis_disk=False), "Redis loses all runs when it restarts"),
        (Ground(redis_disk=True, evicts=True), "Redis throws runs away when it is full"),
    ],
)
def test_a_hole_in_the_ground_makes_it_best_effort_and_is_named(ground: Ground, words: str) -> None:
    found = of_trigger(ground, run_id="payload.seq")

    assert found.level == "best effort"
    assert words in found.why


def test_what_was_not_seen_is_named_and_not_held_against_anybody() -> None:
    found = of_trigger(Ground(), run_id="payload.seq")

    assert found.level == "effectively once"
    assert "not seen from here: that the broker keeps sessions, that the broker writes to disk" in found.why
    assert "not seen" not in of_trigger(run_id="payload.seq").why


def test_a_schedule_needs_redis_and_no_session() -> None:
    config = PipelineConfig(schedule=ScheduleConfig(cron="0 3 * * *"))

    assert guarantee("schedule", config, Ground(sessions=False, redis_disk=True)).level == "effectively once"
    assert guarantee("schedule", config, Ground(redis_disk=False)).level == "best effort"


@pytest.mark.parametrize(("retries", "words"), [(0, ""), (1, "tried 1 more time;"), (3, "tried 3 more times;")])
def test_execution_says_what_can_repeat(retries: int, words: str) -> None:
    found = guarantee("execution", PipelineConfig(run=RunConfig(max_retries=retries)))

    assert found.level == "at least once"
    assert words in found.why
    assert ("after an error" in found.why) == bool(retries)
    assert "3 times in all" in found.why


@pytest.mark.parametrize(
    ("window", "words"),
    [
        (BatchWindow(max_wait_s=1), "many messages are one run, and one that comes twice can be in it twice"),
        (DebounceWindow(quiet_s=1), "only the last message of a window runs"),
        (ThrottleWindow(every_s=2), "messages within 2 s of another are discarded"),
        (LatestWindow(every_s=3), "only the last message in 3 s runs"),
    ],
)
def test_windows_say_which_messages_make_no_run(window: WindowConfig, words: str) -> None:
    assert words in of_trigger(window=window).why


def finding(area: Area, status: Status) -> Finding:
    return Finding(area=area, name="x", status=status, message="x")


@pytest.mark.parametrize(
    ("findings", "code"),
    [
        ([], 0),
        ([finding("broker", "warning"), finding("redis", "skipped"), finding("disk", "ok")], 0),
        ([finding("project", "fault")], 8),
        ([finding("disk", "fault")], 8),
        ([finding("project", "fault"), finding("redis", "fault")], 5),
        ([finding("services", "fault")], 5),
    ],
)
def test_the_exit_code_tells_where_the_faults_are(findings: list[Finding], code: int) -> None:
    assert exit_code(findings) == code


def status(role: str, instance: str = "a", **more: Any) -> ServiceStatus:
    known: dict[str, Any] = {
        "online": True,
        "state": "ready",
        "since": NOW,
        "version": "1.0",
        "role": role,
        "instance": instance,
    }
    return ServiceStatus(**(known | more))


ALL = [status(role) for role in ("dispatcher", "runner", "recorder", "scheduler")]


def not_ok(statuses: list[ServiceStatus]) -> list[tuple[str, str]]:
    return [(one.name, one.status) for one in findings_of(statuses, "1.0") if one.status != "ok"]


def test_four_services_that_are_ready_are_well() -> None:
    assert not_ok(ALL) == []
    assert (
        not_ok([*ALL, status("runner", "b"), status("scheduler", "b"), status("dispatcher", "b", active=False)]) == []
    )
    assert not_ok([*ALL, status("runner", "old", online=False, state="gone", active=False)]) == []


@pytest.mark.parametrize("role", ["dispatcher", "runner", "recorder", "scheduler"])
def test_a_service_that_is_gone_is_a_fault(role: str) -> None:
    gone = status(role, online=False, state="gone", active=False)
    others = [one for one in ALL if one.role != role]

    assert not_ok(others) == not_ok([*others, gone]) == [(role, "fault")]


def test_two_active_dispatchers_a_degraded_service_and_another_version_are_told() -> None:
    assert not_ok([*ALL, status("dispatcher", "b")]) == [("dispatcher", "fault")]
    assert not_ok([*ALL, status("recorder", "b", active=False)]) == []
    assert not_ok([*ALL[:3], status("scheduler", state="degraded", reason="its disk is full")]) == [
        ("scheduler", "fault")
    ]
    assert not_ok([*ALL, status("runner", "old", version="0.9")]) == [("versions", "warning")]


def test_a_standby_alone_does_no_work() -> None:
    found = findings_of([*ALL[1:], status("dispatcher", active=False)], "1.0")

    assert "only a standby" in next(one.message for one in found if one.status == "fault")


def test_an_account_by_another_name_has_to_do_for_all() -> None:
    everyone = [*SERVICES, OPERATOR]

    assert [one.name for one in accounts_for("runner", everyone)] == ["runner"]
    assert accounts_for("ann", everyone) == accounts_for(None, everyone) == everyone


def test_disks_are_looked_at_where_things_lie_or_will_lie(tmp_path: Path) -> None:
    settings = Settings(
        project=str(tmp_path),
        history_url=f"sqlite:///{tmp_path}/deep/down/history.db",
        schedules_url="postgresql://elsewhere/fpbus",
        storage_url=f"file://{tmp_path}/storage",
    )

    found = {one.name: one for one in look_at_disks(settings)}

    assert found.keys() == {"project", "history", "schedules", "storage"}
    assert found["schedules"].status == "skipped"
    assert all(str(tmp_path) in found[name].message for name in ("project", "history", "storage"))
