"""The dispatcher as a real process: who is active, what it does while Redis is in trouble, and its calls."""

import contextlib
import os
import pickle
import signal
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis as redis_py

from fpbus.bus import Bus, CallError, open_bus
from fpbus.schemas import CallFailure, Cancel, RunRequest, Submit
from fpbus.schemas.queue import JOB_FUNCTION, Serializer
from support.device import Device
from support.servers import Broker, Redis
from support.servers import mosquitto as make_mosquitto
from support.servers import redis_server as make_redis
from support.stack import Process, Stack
from support.waiting import wait_for


@pytest.fixture
def device(mosquitto: Broker) -> Iterator[Device]:
    made = Device(mosquitto.url)
    made.client.subscribe("fpbus/services/dispatcher/+/status", 1)
    yield made
    made.close()


def presence(device: Device, instance: str = "t") -> dict[str, Any]:
    """Return the last word of a dispatcher."""
    said = device.messages(ending=f"dispatcher/{instance}/status")
    return {"active": True} | said[-1] if said else {}


def wait_presence(device: Device, instance: str = "t", timeout_s: float = 10.0, **facts: Any) -> None:
    wait_for(lambda: facts.items() <= presence(device, instance).items(), timeout_s, f"{instance} being {facts}")


def publish(device: Device, numbers: range) -> None:
    for number in numbers:
        device.run("add", {"run_id": f"run-{number}", "inputs": {"x": number}})


def wait_results(device: Device, count: int) -> None:
    wait_for(lambda: len(device.result_counts()) >= count, 30, f"{count} results")


def check_each_ran_once(stack: Stack, device: Device, count: int) -> None:
    wait_results(device, count)

    assert sorted(stack.executions()) == list(range(count))
    check_results(device)
    assert device.rejections() == []


def check_results(device: Device) -> None:
    """Every result is the same however often it was heard: it is published again until a receipt was heard for it.

    Receipts that a dispatcher did not live to hear are among those that are missed.
    """
    results: dict[str, dict[str, Any]] = {}
    for result in device.results():
        assert results.setdefault(result["run_id"], result) == result


def start_with_standby(stack: Stack, device: Device) -> Process:
    stack.start()
    wait_presence(device, "t", state="ready", active=True)
    standby = stack.process("dispatcher", "--instance", "b").start().wait_ready()
    stack.processes["standby"] = standby
    wait_presence(device, "b", state="ready", active=False)
    return standby


# A standby.


def test_a_standby_takes_over_from_a_killed_dispatcher_and_each_run_happens_once(stack: Stack, device: Device) -> None:
    start_with_standby(stack, device)
    publish(device, range(250))
    wait_results(device, 20)

    stack.kill("dispatcher")
    killed_at = time.monotonic()
    publish(device, range(250, 500))
    wait_presence(device, "b", state="ready", active=True)
    took = time.monotonic() - killed_at

    assert took < 3, "its will names the lease, so nobody waits for that to run out"
    check_each_ran_once(stack, device, 500)
    wait_presence(device, "t", online=False, state="gone")


def test_a_frozen_dispatcher_that_wakes_up_stops_and_doubles_nothing(stack: Stack, device: Device) -> None:
    start_with_standby(stack, device)
    publish(device, range(250))
    wait_results(device, 20)
    frozen = stack.processes["dispatcher"]

    os.kill(frozen.pid, signal.SIGSTOP)
    publish(device, range(250, 500))
    wait_presence(device, "b", state="ready", active=True)
    os.kill(frozen.pid, signal.SIGCONT)

    assert frozen.popen is not None
    assert frozen.popen.wait(10) == 1
    assert "The dispatcher t has stopped: " in frozen.log.read_text()
    check_each_ran_once(stack, device, 500)


def test_a_dispatcher_that_stops_hands_over_at_once(stack: Stack, device: Device) -> None:
    start_with_standby(stack, device)
    publish(device, range(100))

    code = stack.processes["dispatcher"].kill(signal.SIGTERM)
    wait_presence(device, "b", 2, state="ready", active=True)
    publish(device, range(100, 200))

    assert code == 0
    check_each_ran_once(stack, device, 200)


# Redis in trouble.


def test_redis_killed_under_load_loses_nothing(stack: Stack, device: Device, redis_server: Redis) -> None:
    stack.start()
    publish(device, range(250))
    wait_results(device, 20)

    redis_server.kill()
    publish(device, range(250, 500))
    wait_presence(device, state="degraded")
    redis_server.start()

    check_each_ran_once(stack, device, 500)
    wait_presence(device, state="ready")
    assert presence(device)["pid"] == stack.processes["dispatcher"].pid


def test_redis_frozen_for_five_seconds_loses_nothing(stack: Stack, device: Device, redis_server: Redis) -> None:
    stack.start()
    publish(device, range(250))
    wait_results(device, 20)
    assert redis_server.process is not None

    redis_server.process.send_signal(signal.SIGSTOP)
    publish(device, range(250, 500))
    wait_presence(device, state="degraded")
    redis_server.process.send_signal(signal.SIGCONT)

    wait_results(device, 500)
    wait_presence(device, state="ready")
    assert set(stack.executions()) == set(range(500))
    assert len(stack.wait_records(500)) == 500
    # A result whose receipt waits behind the freeze for more than 5 s is published again: the same one, word for word.
    first = {result["run_id"]: result for result in reversed(device.results())}
    assert all(result == first[result["run_id"]] for result in device.results())


def test_a_full_redis_takes_nothing_finishes_what_it_has_and_goes_on_later(
    stack: Stack, device: Device, redis_server: Redis
) -> None:
    stack.add_pipeline("slow", "import time\n\ndef slept() -> int:\n    time.sleep(1.0)\n    return 1\n")
    stack.start()
    raw = redis_py.Redis(port=redis_server.port)
    device.run("slow", {"run_id": "slow"})
    wait_for(lambda: raw.zcard("fpbus:leases"), what="the start")

    raw.config_set("maxmemory", 1)
    publish(device, range(50))
    wait_presence(device, state="degraded")
    finished = device.wait_result("slow")
    wait_for(lambda: raw.hlen("fpbus:outbox") == 0, what="an empty outbox")
    accepted_meanwhile = device.messages(ending="run-0/status")
    raw.config_set("maxmemory", 0)

    wait_results(device, 51)
    raw.close()
    assert (finished["state"], finished["attempt"]) == ("succeeded", 1)
    assert accepted_meanwhile == []
    assert sorted(stack.executions()) == list(range(50))


# One running system for the rest.


class System:
    """A running system, a device in front of it, and somebody who calls."""

    def __init__(self, stack: Stack, device: Device, caller: Bus, redis: Redis) -> None:
        self.stack = stack
        self.device = device
        self.caller = caller
        self.redis = redis
        self.raw: Any = redis_py.Redis(port=redis.port)

    def run(self, pipeline: str = "add") -> dict[str, Any]:
        """Run a good message from end to end."""
        run_id = uuid.uuid4().hex
        self.device.run(pipeline, {"run_id": run_id, "inputs": {"x": 1}})
        return self.device.wait_result(run_id)

    def submit(self, pipeline: str, **fields: Any) -> dict[str, Any]:
        answer = self.caller.call("dispatcher", "submit", Submit(pipeline=pipeline, request=RunRequest(**fields)))
        status: dict[str, Any] = answer["status"]
        return status

    def refused_call(self, verb: str, arguments: msgspec.Struct | None) -> CallFailure:
        with pytest.raises(CallError) as refused:
            self.caller.call("dispatcher", verb, arguments)
        return refused.value.failure


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("dispatcher")
    broker, redis = make_mosquitto(folder / "mosquitto").start(), make_redis(folder / "redis").start()
    stack = Stack(folder / "stack", broker.url, redis.url)
    stack.add_pipeline("open", "def answer(x: int) -> int:\n    return x\n", "allow_overrides: [timeout_s, config]\n")
    with contextlib.ExitStack() as ending:
        for stop in (broker.stop, redis.stop, stack.stop):
            ending.callback(stop)
        stack.start()
        device, caller = Device(broker.url), open_bus(broker.url, "caller")
        device.client.subscribe("fpbus/services/dispatcher/+/status", 1)
        caller.start()
        made = System(stack, device, caller, redis)
        for stop in (device.close, caller.stop, made.raw.close):
            ending.callback(stop)
        yield made


# Calls.


def test_an_operator_may_override_what_a_device_may_not(system: System) -> None:
    run_id = uuid.uuid4().hex

    status = system.submit("add", run_id=run_id, inputs={"x": 3}, timeout_s=7, max_retries=1, log_level="DEBUG")

    assert (status["run_id"], status["state"], status.get("duplicate")) == (run_id, "accepted", None)
    assert system.device.wait_result(run_id)["outputs"]["answer"]["json"] == 7
    assert system.device.messages(ending=f"{run_id}/status")[0] == status


def test_a_submit_that_is_asked_again_is_the_same_run(system: System) -> None:
    run_id = uuid.uuid4().hex
    system.submit("add", run_id=run_id, inputs={"x": 3})
    system.device.wait_result(run_id)

    status = system.submit("add", run_id=run_id, inputs={"x": 3})

    assert (status["duplicate"], status["run_state"]) == (True, "succeeded")


def test_a_submit_without_an_id_gets_one(system: System) -> None:
    status = system.submit("add", inputs={"x": 3})

    assert system.device.wait_result(status["run_id"])["state"] == "succeeded"


@pytest.mark.parametrize(
    ("pipeline", "fields", "detail", "field"),
    [
        ("ad", {}, "unknown_pipeline", "$.pipeline"),
        ("add", {"reply_to": "pipelines/add/run", "inputs": {"x": 1}}, "not_allowed", "$.reply_to"),
        ("add", {"expires_at": datetime(2020, 1, 1, tzinfo=UTC), "inputs": {"x": 1}}, "expired", "$.expires_at"),
        ("add", {"inputs": {"x": 2**70}}, "invalid_payload", None),
    ],
)
def test_a_submit_is_refused_in_words(
    system: System, pipeline: str, fields: dict[str, Any], detail: str, field: str | None
) -> None:
    failure = system.refused_call("submit", Submit(pipeline=pipeline, request=RunRequest(**fields)))

    assert (failure.code, failure.detail, failure.field) == ("rejected", detail, field)
    assert failure.message.endswith(".")


def test_a_submit_of_another_request_under_the_same_id_is_a_conflict(system: System) -> None:
    run_id = uuid.uuid4().hex
    system.submit("add", run_id=run_id, inputs={"x": 3})

    failure = system.refused_call("submit", Submit(pipeline="add", request=RunRequest(run_id=run_id, inputs={"x": 4})))

    assert (failure.detail, failure.field) == ("conflict", "$.run_id")


def test_a_cancel_ends_what_waits_and_a_repeat_says_that_it_has_ended(system: System) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    run_id = system.submit("add", inputs={"x": 1}, not_before=later)["run_id"]
    depths = system.caller.call("dispatcher", "queues")

    first, second = (system.caller.call("dispatcher", "cancel", Cancel(run_id=run_id)) for _ in range(2))

    assert {one["name"]: one["delayed"] for one in depths["queues"]} == {"high": 0, "default": 1, "low": 0}
    assert (first["state"], first["cancelling"]) == ("delayed", True)
    assert (second["state"], second["cancelling"]) == ("cancelled", False)
    assert system.device.wait_result(run_id)["error"]["code"] == "cancelled"


def test_a_cancel_of_an_unknown_run_is_not_found(system: System) -> None:
    failure = system.refused_call("cancel", Cancel(run_id="nobody"))

    assert (failure.code, failure.field) == ("not_found", "$.run_id")


def test_a_call_is_answered_unavailable_while_redis_is_away(system: System) -> None:
    system.redis.kill()
    try:
        failures = [
            system.refused_call(verb, arguments)
            for verb, arguments in (
                ("submit", Submit(pipeline="add", request=RunRequest(inputs={"x": 1}))),
                ("cancel", Cancel(run_id="r")),
                ("queues", None),
            )
        ]
    finally:
        system.redis.start()

    assert {failure.code for failure in failures} == {"unavailable"}
    assert system.run()["state"] == "succeeded"


# The project's files.


def test_a_pipeline_that_is_listed_may_be_overridden_and_only_there(system: System) -> None:
    run_id = uuid.uuid4().hex

    system.device.run("open", {"run_id": run_id, "inputs": {"x": 2}, "timeout_s": 5})

    assert system.device.wait_result(run_id)["state"] == "succeeded"


def test_a_broken_file_is_told_and_the_last_good_one_stays_in_force(system: System) -> None:
    path = system.stack.project / "conf" / "pipelines" / "open.yml"
    good = path.read_text()

    path.write_text("run: [\n")
    wait_presence(system.device, state="degraded")
    reason = presence(system.device)["reason"]
    status = system.submit("open", inputs={"x": 1})
    path.write_text(good)
    wait_presence(system.device, state="ready")

    assert "open.yml:2: this is no YAML" in reason
    assert status["state"] == "accepted"


# Jobs that no dispatcher of ours has made.


class _Touches:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self._path,))


def test_a_crafted_job_is_set_aside_and_nothing_of_it_is_executed(system: System, tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    good = system.submit("add", inputs={"x": 1}, not_before=datetime.now(UTC) + timedelta(hours=1))["run_id"]
    ours = system.raw.hget(f"rq:job:{good}", "data")
    crafted: dict[str, dict[str, Any]] = {
        "system": {"data": Serializer.dumps(("os.system", None, (f"touch {marker}",), {}))},
        "pickle": {"data": pickle.dumps((JOB_FUNCTION, None, (_Touches(marker),), {}))},
        "callback": {"data": ours, "success_callback_name": "os.system"},
        "empty": {"data": b""},
    }

    for name, fields in crafted.items():
        system.raw.hset(f"rq:job:{name}", mapping=fields | {"origin": "high", "status": "queued"})
        system.raw.rpush("rq:queue:high", name)
    wait_for(lambda: system.raw.zcard("rq:failed:high") == len(crafted), what="the failed registry")

    assert system.run()["state"] == "succeeded"
    assert not marker.exists()
    assert system.raw.hget("fpbus:counters", "foreign_jobs") == b"4"
    assert system.raw.llen("rq:queue:high") == 0
    assert {entry.decode() for entry in system.raw.zrange("rq:failed:high", 0, -1)} == set(crafted)


def test_a_crafted_lease_and_a_crafted_delayed_job_stop_nobody(system: System) -> None:
    system.raw.hset("rq:job:crafted", mapping={"data": b"cos\nsystem\n"})
    system.raw.zadd("rq:scheduled:low", {"crafted": 1, "no-such-job": 1})
    system.raw.zadd("fpbus:leases", {"crafted:1.w": 1, "nonsense": 1, "nobody:x.w": 1})

    wait_for(lambda: system.raw.zcard("fpbus:leases") == 0, what="the sweep")

    assert system.run()["state"] == "succeeded"
    assert system.stack.processes["dispatcher"].popen is not None
    assert system.stack.processes["dispatcher"].popen.poll() is None
