"""What RQ's own tools see of a running system, and what RQ's own worker makes of jobs that others have crafted."""

import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
import redis as redis_py
from rq import Queue, SimpleWorker, Worker
from rq.job import Job

from fpbus.project import make_project
from fpbus.runner.rq_job import AllowListedJob
from fpbus.schemas.queue import JOB_FUNCTION, QUEUES, Serializer
from support import servers
from support.device import Device
from support.stack import Stack
from support.waiting import wait_for

OURS: Final[Any] = Serializer  # RQ's hints want an instance, RQ takes a class as well
SERIALIZER: Final = "fpbus.schemas.queue.Serializer"

GATED_PY: Final = """
import os
import time


def opened(gate: str) -> bool:
    while not os.path.exists(gate):
        time.sleep(0.01)
    return True
"""


class System:
    """A running system, a device in front of it, and its Redis."""

    def __init__(self, stack: Stack, device: Device, url: str) -> None:
        self.stack = stack
        self.device = device
        self.url = url
        self.raw: Any = redis_py.Redis.from_url(url)

    def begin(self, pipeline: str = "add", **fields: Any) -> str:
        run_id = uuid.uuid4().hex
        self.device.run(pipeline, {"run_id": run_id, "inputs": {"x": 1}} | fields)
        return run_id

    def rq_info(self, *options: str) -> str:
        rq = str(Path(sys.executable).with_name("rq"))
        command = [rq, "info", "--raw", "-u", self.url, "-S", SERIALIZER, *options]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("rq")
    with ExitStack() as ending:
        broker, redis = servers.mosquitto(folder / "mosquitto"), servers.redis_server(folder / "redis")
        for server in (broker, redis):
            ending.callback(server.stop)
            server.start()
        stack = Stack(folder / "stack", broker.url, redis.url)
        stack.add_pipeline("gated", GATED_PY)
        stack.configure("\nrunner:\n  workers: 1\n")
        ending.callback(stack.stop)
        stack.start()
        made = System(stack, Device(broker.url), redis.url)
        ending.callback(made.raw.close)
        ending.callback(made.device.close)
        yield made


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """A file that the pipeline `gated` waits for."""
    made = tmp_path / "gate"
    yield made
    made.touch()


def test_rqs_tools_see_what_runs_what_waits_and_who_works(system: System, gate: Path) -> None:
    running = system.begin("gated", inputs={"gate": str(gate)})
    wait_for(lambda: [one for one in system.device.messages(ending="/status") if one["state"] == "started"])
    waiting = [system.begin(), system.begin()]
    later = system.begin(priority="low", not_before="2999-01-01T00:00:00Z")
    wait_for(lambda: system.raw.zcard("fpbus:open") == 4, what="four open runs")

    shown = system.rq_info()
    theirs = Queue("default", connection=system.raw, serializer=OURS)
    (worker,) = Worker.all(connection=system.raw, serializer=OURS)

    assert "queue default 2, 1 executing" in shown
    assert "queue low 0, 0 executing" in shown
    assert f"busy {', '.join(QUEUES)}" in shown
    assert theirs.get_job_ids() == waiting
    assert theirs.started_job_registry.get_job_ids() == [running]
    assert Queue("low", connection=system.raw, serializer=OURS).scheduled_job_registry.get_job_ids() == [later]
    assert (worker.name, worker.get_state(), worker.queue_names()) == ("t/1", "busy", list(QUEUES))
    assert Job.fetch(running, connection=system.raw, serializer=OURS).worker_name == worker.name

    gate.touch()
    for run_id in (running, *waiting):
        system.device.wait_result(run_id)
    assert set(theirs.finished_job_registry.get_job_ids()) == {running, *waiting}
    assert theirs.started_job_registry.count == 0
    wait_for(lambda: "idle" in system.rq_info("-W"), what="an idle worker")


@pytest.mark.parametrize("run_id", ["with:colon", "other", "other:1.t/1"])
def test_a_job_under_a_crafted_name_is_set_aside_and_the_runner_goes_on(system: System, run_id: str) -> None:
    system.device.wait_result(good := system.begin())
    system.raw.hset(f"rq:job:{run_id}", "data", system.raw.hget(f"rq:job:{good}", "data"))

    system.raw.rpush("rq:queue:high", run_id)
    wait_for(lambda: system.raw.zscore("rq:failed:high", run_id), what="the failed registry")

    assert system.device.wait_result(system.begin())["state"] == "succeeded"
    assert system.device.result_counts()[good] == 1


# RQ's own worker.

TRIPWIRE_PY: Final = """
import pathlib

pathlib.Path(__file__).with_name("imported").touch()


def call(*_):
    pathlib.Path(__file__).with_name("called").touch()
"""


@pytest.fixture
def tripwire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Have a project, and a module beside it that leaves files behind when somebody imports or calls it."""
    make_project(tmp_path, "stock")
    (tmp_path / "pipelines" / "add.py").write_text("def answer(x: int) -> int:\n    return x + 1\n")
    (tmp_path / "conf" / "pipelines" / "add.yml").write_text("run: {}\n")
    (tmp_path / "tripwire.py").write_text(TRIPWIRE_PY)
    monkeypatch.setenv("FPBUS_PROJECT", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("tripwire", None)


GOOD_CALL: Final = {"pipeline": "add", "request": {"inputs": {"x": 1}}}
BAD_CALL: Final = {"pipeline": "nobody", "request": {}}
CRAFTED: Final[list[tuple[str, dict[str, Any], dict[str, str]]]] = [
    ("tripwire.call", GOOD_CALL, {}),
    (JOB_FUNCTION, GOOD_CALL, {"success_callback_name": "tripwire.call"}),
    (JOB_FUNCTION, BAD_CALL, {"failure_callback_name": "tripwire.call"}),
]


def put(redis: Any, run_id: str, function: str, call: dict[str, Any], more: dict[str, str]) -> None:
    """Put a job into the queue as somebody would who can write to Redis."""
    fields = {"data": Serializer.dumps((function, None, (call,), {})), "origin": "default", "status": "queued"}
    redis.hset(f"rq:job:{run_id}", mapping=fields | {"created_at": "2026-11-22T12:00:00.000000Z"} | more)
    redis.rpush("rq:queue:default", run_id)


def work_off(redis: Any, job_class: type[Job]) -> None:
    theirs = Queue("default", connection=redis, serializer=OURS, job_class=job_class)
    SimpleWorker([theirs], connection=redis, serializer=OURS, job_class=job_class).work(burst=True)


def traces(folder: Path) -> set[str]:
    return {name for name in ("imported", "called") if (folder / name).exists()}


@pytest.mark.parametrize(("function", "call", "more"), CRAFTED)
def test_rqs_worker_with_our_allow_list_executes_no_crafted_name(
    redis_server: servers.Redis, tripwire: Path, function: str, call: dict[str, Any], more: dict[str, str]
) -> None:
    with redis_py.Redis.from_url(redis_server.url) as redis:
        put(redis, "crafted", function, call, more)
        put(redis, "good", JOB_FUNCTION, GOOD_CALL, {})

        work_off(redis, AllowListedJob)

        assert Job.fetch("crafted", connection=redis, serializer=OURS).get_status() == "failed"
        assert Job.fetch("good", connection=redis, serializer=OURS).return_value() == {"answer": 2}
        assert traces(tripwire) == set()


@pytest.mark.parametrize(("function", "call", "more"), CRAFTED)
def test_without_the_allow_list_each_of_them_is_executed(
    redis_server: servers.Redis, tripwire: Path, function: str, call: dict[str, Any], more: dict[str, str]
) -> None:
    with redis_py.Redis.from_url(redis_server.url) as redis:
        put(redis, "crafted", function, call, more)

        work_off(redis, Job)

        assert traces(tripwire) == {"imported", "called"}
