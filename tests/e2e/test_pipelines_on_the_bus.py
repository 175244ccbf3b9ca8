"""What a pipeline has around it, in a work-horse: hooks, retries by class, cache, executors, its log level."""

import json
from pathlib import Path
from typing import Any

import pytest

from support.device import Device
from support.stack import Stack

STEPS = """
import logging
from hooks.errors import GoneError

def count(counter: str) -> int:
    with open(counter, "a") as file:
        file.write("x")
    with open(counter) as file:
        return len(file.read())

def third_time(count: int) -> int:
    logging.getLogger("shop").info("try %d", count)
    logging.getLogger("shop").warning("tried %d", count)
    if count < 3:
        raise GoneError(f"try {count}")
    return count

def never(count: int) -> int:
    raise TypeError("not in the list")

def opaque(count: int) -> object:
    return object()
"""

CONFIG = """
run:
  max_retries: 2
  retry_delay: 0.1
  retry_exceptions: [hooks.errors.LostError]
  executor: {type: threadpool, max_workers: 2}
  log_level: WARNING
allow_overrides: [cache, executor]
"""

HOOKS = """
import json
from fpbus.pipelines.hooks import after_run, before_run, on_failure, on_success

def note(name, run):
    with open(run.inputs["counter"] + ".notes", "a") as file:
        file.write(json.dumps([name, run.attempt]) + "\\n")

@before_run
def begin(run): note("before_run", run)

@after_run
def end(run): note("after_run", run)

@on_success
def good(run): note("on_success", run)

@on_failure
def bad(run): note("on_failure", run)
"""


@pytest.fixture
def shop(stack: Stack, device: Device, tmp_path: Path) -> "Shop":
    stack.add_pipeline("steps", STEPS, CONFIG)
    hooks = stack.project / "hooks"
    hooks.mkdir(exist_ok=True)
    (hooks / "__init__.py").touch()
    (hooks / "errors.py").write_text("class LostError(Exception): ...\n\nclass GoneError(LostError): ...\n")
    (hooks / "notes.py").write_text(HOOKS)
    stack.start()
    return Shop(device, tmp_path)


class Shop:
    """Runs nodes of the pipeline; what they leave behind is in files named after the run."""

    def __init__(self, device: Device, folder: Path) -> None:
        self._device = device
        self._folder = folder

    def run(self, run_id: str, node: str, counter: str | None = None, **more: Any) -> dict[str, Any]:
        inputs = {"counter": str(self._folder / (counter or run_id))}
        self._device.run("steps", {"run_id": run_id, "final_vars": [node], "inputs": inputs, **more})
        return self._device.wait_result(run_id, 30)

    def notes(self, run_id: str) -> list[Any]:
        return [json.loads(line) for line in (self._folder / f"{run_id}.notes").read_text().splitlines()]

    def count(self, counter: str) -> int:
        return len((self._folder / counter).read_text())

    def cached(self, run_id: str) -> bool:
        """Tell whether the bus heard that the node `count` came from the cache."""
        events = self._device.messages(ending=f"{run_id}/nodes/count")
        return any(event.get("cached", False) for event in events)

    def log(self, run_id: str) -> list[str]:
        messages = self._device.messages(ending=f"{run_id}/log")
        return [line["text"] for message in messages for line in message["lines"]]


def test_hooks_retries_and_log_level_are_those_of_a_run_in_the_foreground(shop: Shop) -> None:
    result = shop.run("flaky", "third_time")
    assert (result["state"], result["attempt"], result["outputs"]) == ("succeeded", 3, {"third_time": {"json": 3}})
    around = [[name, attempt] for attempt in (1, 2, 3) for name in ("before_run", "after_run")]
    assert shop.notes("flaky") == [*around, ["on_success", 3]]
    assert [line for line in shop.log("flaky") if "shop" in line] == [f"shop: tried {count}" for count in (1, 2, 3)]


def test_a_failure_that_is_not_tried_again_ends_with_its_hook(shop: Shop) -> None:
    assert shop.run("other", "never")["attempt"] == 1
    assert shop.notes("other") == [["before_run", 1], ["after_run", 1], ["on_failure", 1]]


def test_an_output_that_cannot_be_encoded_is_a_failure_for_hooks_too(shop: Shop) -> None:
    assert shop.run("opaque", "opaque")["error"]["code"] == "result_not_encodable"
    assert shop.notes("opaque")[-1] == ["on_failure", 1]


def test_the_cache_lasts_from_run_to_run(shop: Shop) -> None:
    first = shop.run("cached-1", "count", "shared", cache=True, executor="local")
    again = shop.run("cached-2", "count", "shared", cache=True, executor="local")
    assert first["outputs"] == again["outputs"] == {"count": {"json": 1}}
    assert shop.count("shared") == 1
    assert shop.run("fresh", "count", "shared", executor="local")["outputs"] == {"count": {"json": 2}}
    assert [shop.cached(run_id) for run_id in ("cached-1", "cached-2", "fresh")] == [False, True, False]
