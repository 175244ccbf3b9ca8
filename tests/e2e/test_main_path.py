"""Messages become runs and results: all of them, once, whatever is killed on the way."""

import random
import threading
from pathlib import Path

from support.device import Device
from support.servers import Broker, Redis, amqtt, redis_server
from support.stack import Stack
from support.waiting import wait_for

RUNS = 2_000


def publish_all(device: Device, count: int = RUNS) -> None:
    for number in range(count):
        device.run("add", {"run_id": f"run-{number}", "inputs": {"x": number}})


def wait_results(device: Device, least: int) -> None:
    wait_for(lambda: len(device.result_counts()) >= least, 60, f"{least} results")


def check_whole(stack: Stack, device: Device) -> None:
    """Every run has a result and a record, and every result is the right one."""
    wait_for(lambda: len(device.result_counts()) == RUNS, 90, "a result for each run")
    records = stack.wait_records(RUNS, 30)

    assert len({run_id for run_id, _, _ in records}) == len(records) == RUNS
    assert {state for _, state, _ in records} == {"succeeded"}
    for result in device.results():
        number = int(result["run_id"].removeprefix("run-"))
        assert result["outputs"] == {"answer": {"json": number * 2 + 1}}
        assert result["state"] == "succeeded"


def test_each_message_becomes_one_run_one_result_and_one_record(stack: Stack, device: Device) -> None:
    stack.start()

    publish_all(device)

    check_whole(stack, device)
    assert sorted(stack.executions()) == list(range(RUNS))
    assert set(device.result_counts().values()) == {1}


def test_the_same_on_the_embedded_broker_and_its_redis(tmp_path: Path) -> None:
    broker, redis = amqtt(tmp_path / "amqtt").start(), redis_server(tmp_path / "redis").start()
    stack = Stack(tmp_path / "stack", broker.url, redis.url).start()
    device = Device(broker.url)
    try:
        publish_all(device)

        check_whole(stack, device)
        assert sorted(stack.executions()) == list(range(RUNS))
    finally:
        device.close()
        stack.stop()
        redis.stop()
        broker.stop()


def test_killing_dispatcher_and_runner_again_and_again_loses_and_doubles_nothing(stack: Stack, device: Device) -> None:
    stack.configure("runner:\n  lease_s: 2\n")
    stack.start()
    publisher = threading.Thread(target=publish_all, args=(device,))
    chance = random.Random(7)

    publisher.start()
    for kill in range(6):
        milestone = (kill + 1) * RUNS // 8
        wait_results(device, milestone)
        stack.restart(chance.choice(["dispatcher", "runner"]))
    publisher.join()

    check_whole(stack, device)
    attempts = {run_id: attempt for run_id, _, attempt in stack.records()}
    again = [number for number in set(stack.executions()) if stack.executions().count(number) > 1]
    assert all(attempts[f"run-{number}"] > 1 for number in again), "a run was executed twice in one attempt"


def test_a_repeated_message_is_the_same_run(stack: Stack, device: Device) -> None:
    stack.start()
    request = {"run_id": "once", "inputs": {"x": 1}}

    device.run("add", request)
    device.wait_result("once")
    device.run("add", request)
    statuses = wait_for(
        lambda: [status for status in device.messages(ending="/status") if status.get("duplicate")],
        what="the answer to the repeat",
    )

    assert statuses[0]["run_state"] == "succeeded"
    assert stack.executions() == [1]


def test_sigterm_of_every_service_ends_it_with_code_zero(stack: Stack, device: Device) -> None:
    stack.start()
    device.run("add", {"run_id": "before", "inputs": {"x": 1}})
    device.wait_result("before")

    codes = stack.stop()

    assert codes == {"recorder": 0, "dispatcher": 0, "runner": 0}


def test_services_wait_for_a_broker_that_comes_later(tmp_path: Path, mosquitto: Broker, redis_server: Redis) -> None:
    stack = Stack(tmp_path / "stack", mosquitto.url, redis_server.url)
    mosquitto.stop()
    processes = [stack.process(role).start() for role in ("dispatcher", "runner", "recorder")]

    mosquitto.start()

    for process in processes:
        process.wait_ready()
    for process in processes:
        assert process.kill(15) == 0
