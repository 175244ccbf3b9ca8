"""Steering a running system through `fpbus.control`: cancel, delete, retry, pause, limits."""

import contextlib
import signal
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis as redis_py

from fpbus.bus import CallError, open_bus
from fpbus.control import Control, NotFoundError, RejectedError
from fpbus.lifecycle import Settings
from fpbus.schemas import ChooseJobs, ListJobs, RetryJob, RunRequest
from support.device import Device
from support.servers import Broker, Redis
from support.servers import mosquitto as make_mosquitto
from support.servers import redis_server as make_redis
from support.stack import Stack
from support.waiting import wait_for

SLOW = "import time\n\n\ndef slept(seconds: float) -> float:\n    time.sleep(seconds)\n    return seconds\n"
FUSSY = "def answer(x: int) -> int:\n    if x < 0:\n        raise ValueError('below zero')\n    return x\n"


class System:
    """A running system with one runner of four workers."""

    def __init__(self, stack: Stack, broker: Broker, redis: Redis, control: Control) -> None:
        self.stack = stack
        self.redis = redis
        self.control = control
        self.device = Device(broker.url)
        self.caller = open_bus(broker.url, "caller")
        self.caller.start()
        self.raw: Any = redis_py.Redis(port=redis.port)

    def submit(self, pipeline: str, **fields: Any) -> str:
        return self.control.submit(pipeline, RunRequest(**fields)).run_id

    def slow(self, pipeline: str, seconds: float, **fields: Any) -> str:
        return self.submit(pipeline, inputs={"seconds": seconds}, **fields)

    def result(self, run_id: str) -> dict[str, Any]:
        return self.device.wait_result(run_id, 30)

    def running(self, pipeline: str) -> list[str]:
        return [job.run_id for job in self.control.jobs(ListJobs(state="started", pipeline=pipeline))]

    def wait_running(self, pipeline: str, count: int) -> list[str]:
        return wait_for(
            lambda: found if len(found := self.running(pipeline)) == count else [], 15, f"{count} of {pipeline} running"
        )

    def wait_quiet(self) -> None:
        wait_for(lambda: self.control.queues().open == 0, 60, "the end of all runs")


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("steering")
    broker, redis = make_mosquitto(folder / "mosquitto").start(), make_redis(folder / "redis").start()
    stack = Stack(folder / "stack", broker.url, redis.url)
    stack.configure("runner: {workers: 4, lease_s: 2.0}\nlimits: {lost_attempts: 50}\n")
    stack.add_pipeline("fussy", FUSSY)
    for name, limits in {
        "slow": "",
        "two": "limits: {max_running: 2}\n",
        "keyed": "limits: {max_running_per_key: 1}\n",
        "skips": "limits: {max_running: 1, when_full: skip}\n",
        "newest": "limits: {max_running: 1, when_full: cancel-running}\n",
        "paced": "limits: {rate: 4/s}\n",
    }.items():
        stack.add_pipeline(name, SLOW, f"run: {{}}\n{limits}")
    with contextlib.ExitStack() as ending:
        for stop in (broker.stop, redis.stop, stack.stop):
            ending.callback(stop)
        stack.start()
        control = ending.enter_context(Control.connect(Settings(mqtt_url=broker.url)))
        made = System(stack, broker, redis, control)
        ending.callback(made.device.close)
        ending.callback(made.caller.stop)
        ending.callback(made.raw.close)
        yield made


# Cancel and delete.


def test_a_running_run_is_stopped_within_two_seconds_while_others_flow(system: System) -> None:
    run_id = system.slow("slow", 60)
    system.wait_running("slow", 1)
    for number in range(300):
        system.device.run("add", {"run_id": f"load-{number}", "inputs": {"x": number}})

    asked_at = time.monotonic()
    answer = system.control.cancel(run_id)
    result = system.result(run_id)

    assert time.monotonic() - asked_at < 2, "the promise is that the process is stopped within 2 s"
    assert (answer.state, answer.cancelling) == ("started", True)
    assert (result["state"], result["error"]["code"]) == ("cancelled", "cancelled")
    assert system.result("load-299")["state"] == "succeeded"
    assert system.control.show_job(run_id).state == "cancelled"


def test_all_runs_of_a_pipeline_are_cancelled_and_the_process_of_each_ends(system: System) -> None:
    system.wait_quiet()
    runs = [system.slow("slow", 60) for _ in range(4)]
    system.wait_running("slow", 4)
    runs += [system.slow("slow", 60) for _ in range(20)]

    done = system.control.cancel_all(pipeline="slow")

    assert done.cancelled + done.cancelling == 24
    assert {system.result(run_id)["state"] for run_id in runs} == {"cancelled"}
    wait_for(lambda: not system.running("slow"), 5, "the end of the running ones")


def test_a_deleted_run_is_cancelled_in_the_history_and_gone_from_redis(system: System) -> None:
    run_id = system.submit("add", inputs={"x": 1}, not_before=datetime.now(UTC) + timedelta(hours=1))

    first, second = system.control.delete(run_id), system.control.delete(run_id)

    assert (first.deleted, first.cancelled, second.deleted) == (1, 1, 0)
    wait_for(lambda: (run_id, "cancelled", 0) in system.stack.records(), 10, "its record")
    assert not system.raw.exists(f"rq:job:{run_id}")
    with pytest.raises(NotFoundError):
        system.control.delete("nobody")


def test_a_run_that_redis_has_forgotten_is_run_again_from_the_history(system: System) -> None:
    run_id = system.submit("fussy", inputs={"x": -1})
    assert system.result(run_id)["state"] == "failed"
    wait_for(lambda: (run_id, "failed", 1) in system.stack.records(), 10, "its record")
    system.control.delete(run_id)
    assert not system.raw.exists(f"rq:job:{run_id}")

    again = system.control.retry(run_id, {"x": 5})

    assert system.result(again.run_id)["outputs"] == {"answer": {"json": 5}}
    wait_for(lambda: (again.run_id, "succeeded", 1) in system.stack.records(), 10, "its record")
    record = system.control.show_run(again.run_id)
    assert (record.retry_of, record.request and record.request.inputs) == (run_id, {"x": 5})


def test_whoever_chooses_nothing_is_asked_to(system: System) -> None:
    for chosen in (ChooseJobs(), ChooseJobs(run_id="r", every=True)):
        with pytest.raises(CallError) as refused:
            system.caller.call("dispatcher", "cancel", chosen)
        assert refused.value.failure.code == "invalid_call"


# Retry.


def test_a_failed_run_is_retried_with_other_inputs_as_a_new_run_that_names_the_first(system: System) -> None:
    first = system.submit("fussy", inputs={"x": -1}, key="k", priority="low")
    assert system.result(first)["state"] == "failed"

    again = system.control.retry(first, {"x": 5})

    assert (again.retry_of, again.key) == (first, "k")
    assert again.run_id != first
    assert system.result(again.run_id)["outputs"]["answer"]["json"] == 5
    shown = system.control.show_job(again.run_id)
    assert (shown.retry_of, shown.queue) == (first, "low")
    assert shown.request is not None
    assert shown.request.inputs == {"x": 5}


@pytest.mark.parametrize("state", ["succeeded", "cancelled"])
def test_whatever_ended_can_be_retried_as_it_was(system: System, state: str) -> None:
    later = datetime.now(UTC) + timedelta(hours=1) if state == "cancelled" else None
    first = system.submit("fussy", inputs={"x": 3}, not_before=later)
    if state == "cancelled":
        system.control.cancel(first)
    assert system.result(first)["state"] == state

    again = system.control.retry(first)

    assert system.result(again.run_id)["outputs"]["answer"]["json"] == 3


def test_a_retry_that_is_asked_again_makes_no_second_run(system: System) -> None:
    first = system.submit("fussy", inputs={"x": 3})
    system.result(first)
    retry = RetryJob(run_id=first, new_run_id=uuid.uuid4().hex)

    answers = [system.caller.call("dispatcher", "retry", retry)["status"] for _ in range(2)]

    assert [answer.get("duplicate", False) for answer in answers] == [False, True]


def test_what_has_not_ended_or_is_unknown_is_not_retried(system: System) -> None:
    waiting = system.submit("add", inputs={"x": 1}, not_before=datetime.now(UTC) + timedelta(hours=1))

    with pytest.raises(RejectedError, match="only what has ended can be retried"):
        system.control.retry(waiting)
    with pytest.raises(NotFoundError):
        system.control.retry("nobody")
    system.control.cancel(waiting)


def test_a_run_that_redis_has_forgotten_is_retried_from_what_the_history_knows(system: System) -> None:
    request = RunRequest(run_id="forgotten", inputs={"x": 7})
    retry = RetryJob(run_id="forgotten", inputs={"x": 8}, pipeline="fussy", request=request)

    status = system.caller.call("dispatcher", "retry", retry)["status"]

    assert status["retry_of"] == "forgotten"
    assert system.result(status["run_id"])["outputs"]["answer"]["json"] == 8


# Pausing.


def test_a_pause_outlives_every_process_and_loses_and_doubles_nothing(system: System) -> None:
    system.wait_quiet()
    before = len(system.stack.executions())
    switched = system.control.pause_pipeline("add")
    runs = [system.submit("add", inputs={"x": 10_000 + number}) for number in range(30)]

    system.redis.kill()
    for role in ("dispatcher", "runner", "recorder"):
        system.stack.kill(role)
    system.redis.start()
    system.stack.start()
    other = system.submit("fussy", inputs={"x": 1})

    assert (switched.paused, switched.changed) == (True, True)
    assert system.result(other)["state"] == "succeeded"
    assert len(system.stack.executions()) == before
    assert [(one.pipeline, one.held) for one in system.control.queues().held] == [("add", 30)]
    assert [job.run_id for job in system.control.jobs(ListJobs(state="paused"))] == runs
    resumed = system.control.resume_pipeline("add")
    assert (resumed.paused, resumed.changed) == (False, True)
    assert {system.result(run_id)["state"] for run_id in runs} == {"succeeded"}
    assert sorted(system.stack.executions()[before:]) == [10_000 + number for number in range(30)]


def test_a_pipeline_that_is_not_there_is_not_paused(system: System) -> None:
    with pytest.raises(NotFoundError, match="no pipeline 'ad'"):
        system.control.pause_pipeline("ad")


# Limits.


def test_a_limit_holds_while_workers_are_killed_and_no_slot_is_lost(system: System) -> None:
    system.wait_quiet()
    runs = [system.slow("two", 0.2) for _ in range(24)]
    most: list[int] = []

    def leases() -> int:
        now = int(time.time() * 1000)
        valid = system.raw.zrangebyscore("fpbus:leases", now, "+inf")
        most.append(sum(entry.decode().partition(":")[0] in runs for entry in valid))
        return most[-1]

    for _ in range(3):
        wait_for(lambda: leases() == 2, 15, "both slots in use")
        system.stack.processes["runner"].kill(signal.SIGKILL)
        system.stack.processes["runner"].start().wait_ready()
    wait_for(lambda: leases() >= 0 and system.control.queues().open == 0, 60, "the end of all")

    assert max(most) == 2
    assert {system.result(run_id)["state"] for run_id in runs} == {"succeeded"}
    again = [system.slow("two", 0.5) for _ in range(4)]
    assert sorted(system.wait_running("two", 2)) == sorted(again[:2])
    assert system.control.queues().held[0].held == 2
    system.wait_quiet()
    assert system.control.queues().held == []


def test_a_key_at_its_limit_waits_and_other_keys_run(system: System) -> None:
    first, second = (system.slow("keyed", 60, key="a") for _ in range(2))
    other = system.slow("keyed", 0.01, key="b")

    assert system.result(other)["state"] == "succeeded"
    assert system.running("keyed") == [first]
    waits = system.control.show_job(second)
    assert (waits.state, waits.held) == ("queued", "limit")
    system.control.cancel_all(pipeline="keyed")


def test_what_is_too_much_is_skipped(system: System) -> None:
    system.wait_quiet()
    first = system.slow("skips", 1.5)
    system.wait_running("skips", 1)

    second = system.slow("skips", 0)
    skipped = system.result(second)

    assert (skipped["state"], skipped["error"]["code"]) == ("cancelled", "skipped")
    assert system.result(first)["state"] == "succeeded"
    assert system.result(system.slow("skips", 0))["state"] == "succeeded"


def test_the_oldest_makes_room(system: System) -> None:
    system.wait_quiet()
    first = system.slow("newest", 60)
    system.wait_running("newest", 1)

    second = system.slow("newest", 0.1)

    assert system.result(first)["state"] == "cancelled"
    assert system.result(second)["state"] == "succeeded"


def test_a_rate_spreads_runs_and_drops_none(system: System) -> None:
    runs = [system.slow("paced", 0) for _ in range(12)]

    starts = sorted(datetime.fromisoformat(system.result(run_id)["started_at"]) for run_id in runs)

    assert starts[-1] - starts[0] >= timedelta(seconds=1.5), "4 at once, and 8 more at 4 a second"
