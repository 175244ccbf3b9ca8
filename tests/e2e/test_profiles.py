"""`--name`: a profile with a Redis of its own is a bus of its own, and one without is some queues of the project's."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis as Client

from fpbus.control import Control
from fpbus.lifecycle import Settings
from support.commands import Commands, Done
from support.servers import Redis
from support.servers import redis_server as make_redis
from support.waiting import wait_for

PROFILES = """
name: shop
job_queue:
  profiles:
    gpu: {{redis_port: {port}, num_workers: 2}}
    fast: {{queues: [urgent, high]}}
"""


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    server = make_redis(tmp_path_factory.mktemp("redis")).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def fpbus(tmp_path_factory: pytest.TempPathFactory, redis: Redis) -> Iterator[Commands]:
    base = tmp_path_factory.mktemp("profiles")
    assert Commands(base)("init", "--name", "shop").code == 0
    fpbus = Commands(base / "shop")
    (fpbus.folder / "conf/project.yml").write_text(PROFILES.format(port=redis.port))
    (fpbus.folder / "pipelines/now.py").write_text("def done(x: int) -> int:\n    return x\n")
    (fpbus.folder / "conf/pipelines/now.yml").write_text("run: {queue: urgent, inputs: {x: 1}}\n")
    log = base / "up.log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "fpbus", "up", "--name", "gpu"]
        up = subprocess.Popen(command, cwd=fpbus.folder, env=fpbus.environment, stdout=output, stderr=output)
    try:
        wait_for(lambda: up.poll() is not None or "\nready in" in log.read_text(), 60, "the system to come up")
        assert up.poll() is None, log.read_text()
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


def jobs(fpbus: Commands, *options: str) -> set[str]:
    return set(ok(fpbus("job-queue", "show-job-ids", *options)).split())


def later(fpbus: Commands, pipeline: str, run_id: str, *options: str) -> str:
    return ok(fpbus("trigger", pipeline, "--run-in", "1h", "--run-id", run_id, *options))


def test_a_run_of_a_profile_runs_in_its_redis_and_is_in_its_history_alone(fpbus: Commands, redis: Redis) -> None:
    done = fpbus("trigger", "now", "--name", "gpu", "--run-id", "mine", "--wait", "--format", "json")

    assert json.loads(ok(done))["outputs"] == {"done": {"json": 1}}
    assert Client.from_url(redis.url).hget("fpbus:run:mine", "s") == b"succeeded"
    assert [run["state"] for run in listed(fpbus, "runs", "list", "--name", "gpu")] == ["succeeded"]
    assert fpbus("runs", "show", "mine").code == 4
    assert "mine" in ok(fpbus("runs", "show", "mine", "--name", "gpu"))


def test_one_id_may_be_a_run_of_each(fpbus: Commands) -> None:
    later(fpbus, "hello", "both")
    later(fpbus, "now", "both", "--name", "gpu")

    assert [job["pipeline"] for job in listed(fpbus, "job-queue", "show-jobs", "--name", "gpu")] == ["now"]
    assert [job["pipeline"] for job in listed(fpbus, "job-queue", "show-jobs")] == ["hello"]
    ok(fpbus("job-queue", "cancel-job", "both"))
    assert jobs(fpbus, "--name", "gpu") == {"both"}
    ok(fpbus("job-queue", "cancel-job", "both", "--name", "gpu"))
    ok(fpbus("job-queue", "delete-job", "--all"))


def test_jobs_of_a_profile_are_steered_by_its_name(fpbus: Commands) -> None:
    gpu = ("--name", "gpu")
    for run_id in ("one", "two", "three"):
        later(fpbus, "now", run_id, *gpu)
    later(fpbus, "now", "other")

    ok(fpbus("job-queue", "cancel-job", "one", *gpu))
    ok(fpbus("job-queue", "cancel-job", "--all", *gpu))
    again = ok(fpbus("job-queue", "run-job", "one", *gpu))
    wait_for(lambda: again in jobs(fpbus, "--state", "finished", *gpu), what="the run that was made again")
    ok(fpbus("job-queue", "delete-job", "two", *gpu))

    assert jobs(fpbus, "--state", "cancelled", *gpu) >= {"one", "three"}
    assert jobs(fpbus) == {"other"}
    ok(fpbus("job-queue", "delete-job", "--all"))


def test_schedules_of_a_profile_are_its_own(fpbus: Commands) -> None:
    gpu = ("--name", "gpu")
    ok(fpbus("pipeline", "schedule", "now", "--cron", "0 5 * * *", "--schedule-id", "five", *gpu))

    assert ok(fpbus("job-queue", "show-schedule-ids", *gpu)) == "five"
    assert ok(fpbus("job-queue", "show-schedule-ids")) == ""
    assert ok(fpbus("pipeline", "explain-schedule", "five", "--count", "1", *gpu))
    ok(fpbus("job-queue", "pause-schedule", "five", *gpu))
    assert [one["paused"] for one in listed(fpbus, "job-queue", "show-schedules", *gpu)] == [True]
    ok(fpbus("job-queue", "resume-schedule", "--all", *gpu))
    ok(fpbus("job-queue", "cancel-schedule", "five", *gpu))
    assert fpbus("job-queue", "delete-schedule", "five", *gpu).code == 4


def test_a_schedule_of_a_profile_starts_runs_there(fpbus: Commands) -> None:
    gpu = ("--name", "gpu")
    ok(fpbus("pipeline", "schedule", "now", "--interval", "1s", "--schedule-id", "ticking", *gpu))

    wait_for(lambda: listed(fpbus, "runs", "list", "--schedule", "ticking", *gpu), 20, "a run of the schedule")
    ok(fpbus("job-queue", "delete-schedule", "ticking", *gpu))

    assert listed(fpbus, "runs", "list", "--schedule", "ticking") == []


def test_a_worker_started_with_a_profile_serves_its_redis(fpbus: Commands) -> None:
    ok(fpbus("job-queue", "start-worker", "--name", "gpu", "--background"))
    try:
        workers = listed(fpbus, "job-queue", "show-workers", "--name", "gpu")
        elsewhere = listed(fpbus, "job-queue", "show-workers")
        (runner,) = {worker["name"].partition("/")[0] for worker in workers if "-gpu/" in worker["name"]}
        ok(fpbus("job-queue", "scale", "3", "--instance", runner, "--name", "gpu"))
    finally:
        ok(fpbus("job-queue", "stop-worker", "--name", "gpu"))

    assert [worker["name"] for worker in workers if worker["name"].startswith(runner)] == [f"{runner}/1", f"{runner}/2"]
    assert all("-gpu/" not in worker["name"] for worker in elsewhere)


def test_services_and_pauses_of_a_profile_are_its_own(fpbus: Commands) -> None:
    ok(fpbus("health", "--name", "gpu"))
    ok(fpbus("pipeline", "pause", "now", "--name", "gpu"))
    ok(fpbus("trigger", "now", "--run-id", "waits", "--name", "gpu"))

    assert json.loads(ok(fpbus("trigger", "now", "--wait", "--format", "json")))["state"] == "succeeded"
    assert [job["held"] for job in listed(fpbus, "job-queue", "show-jobs", "--name", "gpu")] == ["paused"]
    ok(fpbus("pipeline", "resume", "now", "--name", "gpu"))
    wait_for(lambda: jobs(fpbus, "--name", "gpu") == set(), what="the run to end")
    ps = json.loads(ok(fpbus("ps", "--name", "gpu", "--format", "json")))
    assert {service["role"] for service in ps["services"]} == {"dispatcher", "runner", "recorder", "scheduler"}


def test_python_speaks_to_a_profile_by_its_root(fpbus: Commands) -> None:
    ok(fpbus("trigger", "now", "--name", "gpu", "--run-id", "asked-for", "--wait"))
    url = json.loads((fpbus.folder / ".fpbus/up.json").read_text())["mqtt_url"]

    with Control.connect(Settings(mqtt_url=url, root="profiles/gpu")) as control:
        assert wait_for(lambda: "asked-for" in {run.run_id for run in control.list_runs()}, what="its record")


def test_a_profile_without_a_redis_is_some_queues(fpbus: Commands) -> None:
    fast = ("--name", "fast")
    later(fpbus, "now", "urgent-one")
    later(fpbus, "now", "urgent-low", "--priority", "low")
    later(fpbus, "hello", "high-one", "--priority", "high")
    later(fpbus, "hello", "usual")

    assert jobs(fpbus, *fast) == {"urgent-one", "urgent-low", "high-one"}
    assert {job["run_id"] for job in listed(fpbus, "job-queue", "show-jobs", "--queue-name", "high", *fast)} == {
        "high-one"
    }
    assert "Cancelled 3 jobs" in fpbus("job-queue", "cancel-job", "--all", *fast).told
    assert jobs(fpbus) == {"usual"}
    assert "Deleted" in fpbus("job-queue", "delete-job", "--all", *fast).told
    ok(fpbus("job-queue", "delete-job", "--all"))


def test_a_worker_of_a_profile_of_queues_serves_those(fpbus: Commands) -> None:
    ok(fpbus("job-queue", "start-worker", "--name", "fast", "--background"))
    try:
        workers = listed(fpbus, "job-queue", "show-workers", "--name", "fast")
    finally:
        ok(fpbus("job-queue", "stop-worker", "--name", "fast"))

    (served,) = [worker["queues"] for worker in workers if "-fast/" in worker["name"]]
    assert served == ["urgent.high", "urgent", "urgent.low", "high"]


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (("trigger", "now", "--name", "fast"), 8, "has no Redis of its own; it is the queues urgent, high"),
        (("serve", "dispatcher", "--name", "fast"), 8, "`run.queue`"),
        (("job-queue", "cancel-schedule", "--all", "--name", "fast"), 8, "no Redis of its own"),
        (("job-queue", "show-jobs", "--name", "gqu"), 8, "Did you mean 'gpu'?"),
        (("job-queue", "show-jobs", "--name", "fast", "--queue-name", "low"), 2, "has urgent, high"),
        (("up", "--name", "nobody"), 8, "has no 'nobody'"),
    ],
)
def test_what_a_name_cannot_mean_is_told(fpbus: Commands, command: tuple[str, ...], code: int, said: str) -> None:
    done = fpbus(*command)

    assert (done.code, said in " ".join(done.told.split())) == (code, True), done.told


def test_a_profile_that_names_the_project_s_own_redis_is_refused(fpbus: Commands, redis: Redis) -> None:
    done = fpbus(
        "serve", "runner", "--name", "gpu", environment={"FPBUS_REDIS_URL": f"redis://localhost:{redis.port}/0"}
    )

    assert (done.code, "names the Redis of the project itself" in done.told) == (8, True)
