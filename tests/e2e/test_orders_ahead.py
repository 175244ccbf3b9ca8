"""A busy worker orders several runs at once; nobody may suffer for what stands before or behind."""

from pathlib import Path

import pytest

from fpbus.schemas import RunState
from support.device import Device
from support.stack import Stack
from support.waiting import wait_for

QUICK_PY = """
import os
import signal
import time


def done(what: str, marks: str, number: int) -> int:
    with open(marks, "a") as file:
        file.write(f"{number}\\n")
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "wait":
        time.sleep(60)
    return number
"""
RUNS = 120


@pytest.fixture
def quick(stack: Stack, tmp_path: Path) -> Path:
    marks = tmp_path / "quick-marks"
    stack.add_pipeline("quick", QUICK_PY, f"run:\n  final_vars: [done]\nparams:\n  marks: {marks}\n  what: pass\n")
    return marks


def _publish(device: Device, number: int, what: str = "pass") -> str:
    run_id = f"run-{number}"
    device.publish("pipelines/quick/run", {"run_id": run_id, "inputs": {"number": number, "what": what}})
    return run_id


def test_a_run_that_kills_its_horse_costs_the_ones_around_it_no_attempt(
    stack: Stack, device: Device, quick: Path
) -> None:
    stack.start("recorder", "dispatcher")
    for number in range(RUNS):
        _publish(device, number, "die" if number in {40, 41, 80} else "pass")
    wait_for(lambda: len(stack.records()) == RUNS, what="all to be accepted")  # so that a worker finds many at once

    stack.start("runner")
    ended = wait_for(lambda: _ended(stack), 120, what="all to end")

    dead = {run_id: attempt for run_id, state, attempt in ended if state == RunState.DEAD}
    others = {(state, attempt) for run_id, state, attempt in ended if run_id not in dead}
    numbers = [int(line) for line in quick.read_text().split()]
    assert dead == {"run-40": 3, "run-41": 3, "run-80": 3}
    assert others == {(RunState.SUCCEEDED, 1)}
    assert sorted(numbers) == sorted([*range(RUNS), 40, 40, 41, 41, 80, 80])


def test_what_stands_behind_a_slow_run_is_done_by_another_worker(stack: Stack, device: Device, quick: Path) -> None:
    stack.start("recorder", "dispatcher")
    for number in range(RUNS):
        _publish(device, number, "wait" if number == 30 else "pass")
    wait_for(lambda: len(stack.records()) == RUNS, what="all to be accepted")

    stack.processes["runner"] = stack.process("runner", "--workers", "2").start().wait_ready()
    wait_for(lambda: len(_succeeded(stack)) == RUNS - 1, what="all but the slow one")

    heard = {event["run_id"] for event in device.messages(ending="/nodes/done") if event["event"] == "finished"}
    assert set(_succeeded(stack).values()) == {1}
    assert heard == _succeeded(stack).keys()
    assert sorted(int(line) for line in quick.read_text().split()) == list(range(RUNS))


def test_orders_that_are_larger_than_any_pipe_are_taken(stack: Stack, device: Device, quick: Path) -> None:
    stack.start("recorder", "dispatcher")
    for number in range(6):
        inputs = {"number": number, "what": "x" * (number % 2 * 900_000)}
        device.publish("pipelines/quick/run", {"run_id": f"run-{number}", "inputs": inputs})
    wait_for(lambda: len(stack.records()) == 6, what="all to be accepted")

    stack.start("runner")

    assert {(state, attempt) for _, state, attempt in stack.wait_records(6)} == {(RunState.SUCCEEDED, 1)}


def _succeeded(stack: Stack) -> dict[str, int]:
    return {run_id: attempt for run_id, state, attempt in stack.records() if state == RunState.SUCCEEDED}


def _ended(stack: Stack) -> list[tuple[str, str, int]]:
    """Return all runs once each of them has ended."""
    records = stack.records()
    return records if all(state in {RunState.SUCCEEDED, RunState.DEAD} for _, state, _ in records) else []
