"""Pipelines that follow others, in running services."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from support.device import Device
from support.servers import mosquitto as make_mosquitto
from support.servers import redis_server as make_redis
from support.stack import Stack
from support.waiting import wait_for

RUNS = 60

ORDERS = "def total(x: int) -> int:\n    if x < 0:\n        raise ValueError('below zero')\n    return x * 2\n"
REPORT = "def report(total: int, of: str) -> str:\n    return f'{of}: {total}'\n"
ALERT = "def alert(why: str) -> str:\n    return f'alarm: {why}'\n"
AGAIN = "def number(number_before: int) -> int:\n    return number_before + 1\n"

ORDERS_YML = """
on_success:
  - pipeline: report
    inputs: {total: outputs.total, of: run_id}
on_failure:
  - pipeline: alert
    inputs: {why: error.message}
  - nobody
"""
AGAIN_YML = "on_success: [{pipeline: again, inputs: {number_before: outputs.number}}]\n"


class System:
    def __init__(self, stack: Stack, device: Device) -> None:
        self.stack = stack
        self.device = device

    def after(self, run_id: str) -> list[str]:
        """Return the runs that were accepted because this one had ended."""
        accepted = self.device.messages(ending="/status")
        return [status["run_id"] for status in accepted if status.get("after") == run_id]

    def result_after(self, run_id: str) -> dict[str, Any]:
        (after,) = wait_for(lambda: self.after(run_id), 20, f"what follows {run_id}")
        return self.device.wait_result(after, 20)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("following")
    broker, redis = make_mosquitto(folder / "mosquitto").start(), make_redis(folder / "redis").start()
    stack = Stack(folder / "stack", broker.url, redis.url)
    for name, module, config in (
        ("orders", ORDERS, ORDERS_YML),
        ("report", REPORT, "run: {}\n"),
        ("alert", ALERT, "run: {}\n"),
        ("again", AGAIN, AGAIN_YML),
    ):
        stack.add_pipeline(name, module, config)
    with contextlib.ExitStack() as ending:
        for stop in (broker.stop, redis.stop, stack.stop):
            ending.callback(stop)
        stack.start()
        device = Device(broker.url)
        ending.callback(device.close)
        yield System(stack, device)


def test_a_success_is_followed_by_a_run_that_has_its_output(system: System) -> None:
    system.device.run("orders", {"run_id": "good", "inputs": {"x": 4}})

    result = system.result_after("good")

    assert (result["pipeline"], result["outputs"]["report"]["json"]) == ("report", "good: 8")


def test_a_failure_is_followed_by_another_and_who_is_unknown_is_named(system: System) -> None:
    system.device.run("orders", {"run_id": "bad", "inputs": {"x": -1}})

    result = system.result_after("bad")
    (rejection,) = wait_for(lambda: system.device.messages(ending="fpbus/rejected"), 10, "the rejection")

    assert (result["pipeline"], result["outputs"]["alert"]["json"]) == ("alert", "alarm: below zero")
    assert rejection["code"] == "unknown_pipeline"
    assert "'nobody'" in rejection["message"]


def test_a_row_that_never_ends_is_ended(system: System) -> None:
    system.device.run("again", {"run_id": "first", "inputs": {"number_before": 0}})

    (rejection,) = wait_for(lambda: system.device.messages(ending="again/rejected"), 30, "the end of the row")

    assert rejection["code"] == "loop"
    numbers = [
        result["outputs"]["number"]["json"]
        for result in system.device.messages(ending="/result")
        if result["pipeline"] == "again"
    ]
    assert sorted(set(numbers)) == list(range(1, 18))


def test_each_run_is_followed_by_one_whatever_dies(system: System) -> None:
    run_ids = [f"kill-{number}" for number in range(RUNS)]
    for number, run_id in enumerate(run_ids):
        system.device.run("orders", {"run_id": run_id, "inputs": {"x": number}})
        if number % 20 == 10:
            system.device.wait_result(run_ids[number - 5], 20)
            system.stack.restart("dispatcher")
        elif number % 20 == 15:
            system.stack.restart("recorder")

    wait_for(lambda: all(system.after(run_id) for run_id in run_ids), 60, "a next run for each")
    followed = {run_id: set(system.after(run_id)) for run_id in run_ids}
    for after in followed.values():
        system.device.wait_result(min(after), 30)

    assert Counter(len(after) for after in followed.values()) == {1: RUNS}
    recorded = {"report-after-": RUNS + 1, "kill-": RUNS}
    for prefix, count in recorded.items():
        assert sum(row[0].startswith(prefix) for row in system.stack.wait_records(2 * RUNS + 20)) == count
