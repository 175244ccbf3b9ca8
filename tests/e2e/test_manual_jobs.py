"""FlowerPower's manual, the chapters on jobs, schedules and the job queue: its command lines, in a running system."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fpbus.supervisor.children import birth_of
from support.commands import Commands, Done
from support.waiting import wait_for

NIGHTLY = """
import logging

log = logging.getLogger(__name__)


def processed(batch_size: int) -> int:
    log.info("a batch of %d", batch_size)
    return batch_size * 2


def kind(mode: str) -> str:
    return mode
"""
CONFIG = "run: {inputs: {batch_size: 1}, final_vars: [processed]}\n"
NAMES = ("my_nightly_processing", "my_report_pipeline", "my_data_check", "my_maintenance_task")
CRON = 'schedule:\n  cron: "0 5 * * *"\n'


@pytest.fixture(scope="module")
def fpbus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    base = tmp_path_factory.mktemp("manual")
    assert Commands(base)("init", "--name", "shop").code == 0
    fpbus = Commands(base / "shop")
    for name in NAMES:
        (fpbus.folder / f"pipelines/{name}.py").write_text(NIGHTLY)
        (fpbus.folder / f"conf/pipelines/{name}.yml").write_text(
            "run: {inputs: {batch_size: 1}, final_vars: [processed]}\n"
        )
    log = base / "up.log"
    with log.open("wb") as output:
        up = subprocess.Popen(
            [sys.executable, "-m", "fpbus", "up"], cwd=fpbus.folder, env=fpbus.environment, stdout=output, stderr=output
        )
    try:
        wait_for(lambda: "\nready in" in log.read_text(), 60, "the system to come up")
        yield fpbus
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(40)


def ok(done: Done) -> str:
    assert done.code == 0, done.told
    return done.out.strip()


def listed(fpbus: Commands, *command: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = json.loads(ok(fpbus(*command, "--format", "json")))
    return items


def schedule(fpbus: Commands, schedule_id: str) -> dict[str, Any]:
    (found,) = [one for one in listed(fpbus, "job-queue", "show-schedules") if one["id"] == schedule_id]
    return found


# Running pipelines, by the job queue.


def test_add_job_in_a_while(fpbus: Commands) -> None:
    before = datetime.now(UTC)
    job = ok(
        fpbus(
            "pipeline",
            "add_job",
            "my_nightly_processing",
            "--inputs",
            '{"batch_size": 1000}',
            "--run-in",
            "15m",
            "--log-level",
            "INFO",
        )
    )

    (found,) = [one for one in listed(fpbus, "job-queue", "show-jobs") if one["run_id"] == job]

    due = datetime.fromisoformat(found["due_at"])
    assert (found["state"], found["pipeline"]) == ("delayed", "my_nightly_processing")
    assert timedelta(minutes=14, seconds=50) < due - before < timedelta(minutes=15, seconds=50)


def test_add_job_at_a_time_and_never_in_the_past(fpbus: Commands) -> None:
    job = ok(fpbus("pipeline", "add-job", "my_nightly_processing", "--run-at", "2094-12-25T08:00:00"))
    past = fpbus("pipeline", "add-job", "my_nightly_processing", "--run-at", "2024-12-25T08:00:00")

    (found,) = [one for one in listed(fpbus, "job-queue", "show-jobs") if one["run_id"] == job]

    assert datetime.fromisoformat(found["due_at"]) == datetime(2094, 12, 25, 8, tzinfo=UTC)
    assert (past.code, "is over" in past.told) == (2, True)


def test_a_delayed_job_starts_at_its_time(fpbus: Commands) -> None:
    typed = datetime.now(UTC)
    done = fpbus("pipeline", "add-job", "my_nightly_processing", "--run-in", "1s", "--wait", "--format", "json")

    result = json.loads(ok(done))
    started, accepted = (datetime.fromisoformat(result[name]) for name in ("started_at", "accepted_at"))
    assert started > typed + timedelta(seconds=1)
    assert started < accepted + timedelta(seconds=3)


@pytest.mark.parametrize(
    ("options", "outputs"),
    [
        (("--inputs", '{"batch_size": 7}'), {"processed": {"json": 14}}),
        (("--final-vars", '["kind"]', "--inputs", '{"mode": "x"}'), {"kind": {"json": "x"}}),
        (("--executor", '{"type": "threadpool", "max_workers": 4}'), {"processed": {"json": 2}}),
        (("--config", '{"a": "b"}', "--cache", "true"), {"processed": {"json": 2}}),
        (("--with-adapter", '{"tracker": false}'), {"processed": {"json": 2}}),
        (("--max-retries", "2", "--retry-delay", "0.5", "--jitter-factor", "0.1"), {"processed": {"json": 2}}),
    ],
)
def test_run_job_takes_what_run_takes(fpbus: Commands, options: tuple[str, ...], outputs: dict[str, Any]) -> None:
    done = fpbus("pipeline", "run_job", "my_nightly_processing", *options, "--wait", "--format", "json")

    assert json.loads(ok(done))["outputs"] == outputs


# Scheduling pipelines.


def test_schedule_by_cron_with_inputs(fpbus: Commands) -> None:
    ok(
        fpbus(
            "pipeline",
            "schedule",
            "my_report_pipeline",
            "--cron",
            "0 5 * * 1-5",
            "--inputs",
            '{"mode": "daily_summary"}',
            "--schedule-id",
            "daily-report-pipeline",
        )
    )

    found = schedule(fpbus, "daily-report-pipeline")

    due = datetime.fromisoformat(found["next_due"])
    assert (found["pipeline"], due.hour, due.weekday() < 5) == ("my_report_pipeline", 5, True)
    assert found["spec"]["settings"]["inputs"] == {"mode": "daily_summary"}


def test_schedule_by_interval_and_overwrite(fpbus: Commands) -> None:
    command = ("pipeline", "schedule", "my_data_check", "--interval", "45m", "--schedule-id", "data-check-prod")

    assert [fpbus(*command, "--overwrite").code, fpbus(*command).code, fpbus(*command, "--overwrite").code] == [0, 3, 0]
    assert schedule(fpbus, "data-check-prod")["trigger"] == "every 45m"


def test_schedule_for_one_date(fpbus: Commands) -> None:
    command = (
        "pipeline",
        "schedule",
        "my_maintenance_task",
        "--executor",
        "local",
        "--schedule-id",
        "new-year-maintenance",
    )

    over = fpbus(*command, "--date", "2025-01-01T03:00:00")
    ok(fpbus(*command, "--date", "2095-01-01T03:00:00"))

    assert (over.code, "its time is over" in over.told) == (3, True)
    assert schedule(fpbus, "new-year-maintenance")["next_due"] == "2095-01-01T03:00:00Z"


@pytest.mark.parametrize(
    ("option", "text", "trigger"),
    [
        ("--cron", "*/5 * * * *", "cron */5 * * * *"),
(
            "--cron",
            '{"minute": "0", "hour": "*/3", "day_of_week": "mon-fri"}',
            "cron {day_of_week: mon-fri, hour: */3, minute: 0}",
        ),
        *[("--interval", span, f"every {span}") for span in ("1h", "30m", "1d6h", "1h30m10s")],
        ("--interval", '{"weeks": 1, "days": 2, "hours": 3, "minutes": 4, "seconds": 5}', "every 1w2d3h4m5s"),
    ],
)  # fmt: skip
def test_each_form_of_a_trigger_is_taken(fpbus: Commands, option: str, text: str, trigger: str) -> None:
    made = ok(fpbus("pipeline", "schedule", "my_data_check", option, text, "--overwrite"))

    assert schedule(fpbus, made)["trigger"] == trigger


def test_schedule_all_makes_the_files_schedules_active(fpbus: Commands) -> None:
    file = fpbus.folder / "conf/pipelines/my_report_pipeline.yml"
    file.write_text(f"run: {{inputs: {{batch_size: 1}}}}\n{CRON}")

    first, again = ok(fpbus("pipeline", "schedule_all", "--overwrite")), ok(fpbus("pipeline", "schedule_all"))
    file.write_text(file.read_text().replace("0 5", "30 6"))
    changed = ok(fpbus("pipeline", "schedule-all", "--executor", "threadpool"))

    assert "added     my_report_pipeline" in first
    assert "unchanged my_report_pipeline" in again
    assert "changed   my_report_pipeline" in changed
    found = schedule(fpbus, "my_report_pipeline")
    assert (found["trigger"], found["origin"]) == ("cron 30 6 * * *", "yaml")
    assert "threadpool" in json.dumps(found["spec"]["settings"]["executor"])


def test_schedule_without_a_trigger_is_the_files(fpbus: Commands) -> None:
    file = fpbus.folder / "conf/pipelines/my_data_check.yml"
    file.write_text(f"run: {{inputs: {{batch_size: 1}}}}\n{CRON}")

    made = ok(fpbus("pipeline", "schedule", "my_data_check", "--schedule-id", "from-the-file"))

    assert schedule(fpbus, made)["trigger"] == "cron 0 5 * * *"


# Job queue management.


def test_a_scheduled_run_happens(fpbus: Commands) -> None:
    ok(fpbus("pipeline", "schedule", "my_nightly_processing", "--interval", "1s", "--schedule-id", "often"))

    def ran() -> bool:
        runs = listed(fpbus, "runs", "list", "--pipeline", "my_nightly_processing", "--state", "succeeded")
        return any(run["run_id"].startswith("often-") for run in runs)

    wait_for(ran, 20, "a run of the schedule")
    ok(fpbus("job-queue", "delete-schedule", "often"))


def test_schedules_are_paused_resumed_cancelled_and_deleted(fpbus: Commands) -> None:
    for name in ("a", "b", "c"):
        ok(fpbus("pipeline", "schedule", "my_data_check", "--interval", "2h", "--schedule-id", name))

    ok(fpbus("job-queue", "pause-schedule", "a"))
    assert (schedule(fpbus, "a")["paused"], "paused" in schedule(fpbus, "b")) == (True, False)
    ok(fpbus("job-queue", "pause-schedule", "--all"))
    assert all(one["paused"] for one in listed(fpbus, "job-queue", "show-schedules"))
    ok(fpbus("job-queue", "resume-schedule", "a"))
    ok(fpbus("job-queue", "resume-schedule", "--all"))
    assert not any(one.get("paused") for one in listed(fpbus, "job-queue", "show_schedules"))
    ok(fpbus("job-queue", "cancel-schedule", "a"))
    ok(fpbus("job-queue", "delete-schedule", "b"))
    ids = ok(fpbus("job-queue", "show-schedule-ids")).split()
    assert ("a" in ids, "b" in ids, "c" in ids) == (False, False, True)
    ok(fpbus("job-queue", "cancel_schedule", "--all"))
    assert ok(fpbus("job-queue", "show-schedule-ids")) == ""
    assert [fpbus("job-queue", f"{verb}-schedule", "--all").code for verb in ("pause", "resume", "delete")] == [4, 4, 4]
    assert fpbus("job-queue", "delete-schedule", "nobody").code == 4


def test_what_was_done_before_is_told_and_does_not_count_as_done(fpbus: Commands) -> None:
    job = ok(fpbus("pipeline", "add-job", "my_data_check", "--input", "mode=x", "--run-in", "1h"))
    ok(fpbus("pipeline", "schedule", "my_data_check", "--interval", "2h", "--schedule-id", "a"))

    for command, said in (
        (("pipeline", "pause", "my_data_check"), "my_data_check is paused already"),
        (("pipeline", "resume", "my_data_check"), "my_data_check is running already"),
        (("job-queue", "pause-schedule", "a"), "a is paused already."),
        (("job-queue", "resume-schedule", "a"), "a is active already."),
        (("runs", "cancel", job), f"Run {job} is cancelled already; nothing was changed."),
        (("job-queue", "cancel-job", job), f"Run {job} is cancelled already; nothing was changed."),
    ):
        if command[:2] != ("job-queue", "cancel-job"):
            ok(fpbus(*command))
        again = fpbus(*command)
        assert (again.code, said in again.told) == (3, True), (command, again.told)
    ok(fpbus("job-queue", "delete-job", job))
    gone = fpbus("job-queue", "delete-job", job)
    assert (gone.code, f"The data of {job} is gone already." in gone.told) == (4, True)
    ok(fpbus("job-queue", "delete-schedule", "a"))


def test_jobs_are_shown_cancelled_and_deleted(fpbus: Commands) -> None:
    ok(fpbus("job-queue", "delete-job", "--all"))
    jobs = [ok(fpbus("pipeline", "add-job", "my_nightly_processing", "--run-in", "1h")) for _ in range(3)]
    urgent = ok(fpbus("pipeline", "add-job", "my_nightly_processing", "--run-in", "1h", "--priority", "high"))
    done = ok(fpbus("pipeline", "run-job", "my_nightly_processing", "--run-id", "soon", "--wait", "--format", "json"))

    assert json.loads(done)["state"] == "succeeded"
    assert ok(fpbus("job-queue", "show-job-ids")).split() == [*jobs, urgent]
    assert ok(fpbus("job-queue", "show-job-ids", "--queue-name", "high")).split() == [urgent]
    assert ok(fpbus("job-queue", "show-job-ids", "--state", "finished")).split() == ["soon"]
    assert {job["state"] for job in listed(fpbus, "job-queue", "show-jobs", "--state", "all")} == {
        "delayed",
        "succeeded",
    }
    assert ok(fpbus("job-queue", "show-jobs", "--state", "started")) == ""
    assert "run_id: soon" in ok(fpbus("job-queue", "show-jobs", "--state", "finished", "--format", "yaml"))

    ok(fpbus("job-queue", "cancel-job", jobs[0]))
    assert fpbus("job-queue", "cancel-job", "soon").code == 3
    ok(fpbus("job-queue", "cancel-job", "--all", "--queue-name", "high"))
    assert ok(fpbus("job-queue", "show-job-ids")).split() == jobs[1:]
    ok(fpbus("job-queue", "delete-job", jobs[1]))
    ok(fpbus("job-queue", "delete-job", "--all", "--queue-name", "default"))
    assert ok(fpbus("job-queue", "show-job-ids", "--state", "all")).split() == [urgent]
    assert [fpbus("job-queue", f"{verb}-job", "nobody").code for verb in ("cancel", "delete")] == [4, 4]
    assert fpbus("job-queue", "cancel-job", "--all").code == 4
    again = json.loads(ok(fpbus("job-queue", "run-job", urgent, "--wait", "--format", "json")))
    assert (again["state"], again["run_id"] != urgent) == ("succeeded", True)


def test_workers_are_started_in_the_background_and_stopped(fpbus: Commands) -> None:
    start = ("job-queue", "start-worker", "--num-workers", "4", "--background", "--log-level", "INFO", "--type", "rq")

    ok(fpbus(*start))
    twice = fpbus(*start)
    workers = [one["name"] for one in listed(fpbus, "job-queue", "show-workers")]
    services = json.loads(ok(fpbus("ps", "--format", "json")))["services"]
    (pid,) = [status["pid"] for status in services if status["instance"].endswith("-worker")]
    ok(fpbus("job-queue", "stop-worker"))

    assert (twice.code, "running already" in twice.told) == (8, True)
    assert len([name for name in workers if "-worker/" in name]) == 4
    assert birth_of(pid) is None, "its process has ended"
    assert fpbus("job-queue", "stop-worker").code == 4


def test_a_worker_that_was_killed_is_not_taken_for_another(fpbus: Commands) -> None:
    ok(fpbus("job-queue", "start-worker", "--name", "mortal", "--queue-names", "high,low", "--background"))
    file = next((fpbus.folder / ".fpbus/daemons").glob("runner-mortal.json"))
    os.killpg(json.loads(file.read_bytes())["process"]["pid"], signal.SIGKILL)

    assert fpbus("job-queue", "stop-worker", "--name", "mortal").code == 4
    ok(fpbus("job-queue", "start-worker", "--name", "mortal", "--background"))
    ok(fpbus("job-queue", "stop-worker", "--all"))


def test_a_scheduler_is_started_in_the_background_and_stopped(fpbus: Commands) -> None:
    ok(fpbus("job-queue", "start-scheduler", "--interval", "30", "--background", "--type", "rq"))
    roles = [one["role"] for one in json.loads(ok(fpbus("ps", "--format", "json")))["services"] if one["online"]]
    ok(fpbus("job-queue", "stop-scheduler"))

    assert roles.count("scheduler") == 2
    assert fpbus("job-queue", "stop-scheduler").code == 4
