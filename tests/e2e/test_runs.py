"""How runs end: values, errors, timeouts, cancels, deaths. One running system for all of these tests."""

import os
import signal
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

from fpbus.control import Control
from fpbus.lifecycle import Settings
from fpbus.schemas import ListRuns, RunRequest, RunState
from support import servers
from support.device import Device
from support.stack import Stack
from support.waiting import wait_for

KINDS_PY = """
import math
import os
import pandas as pd
import signal
import sys
import time


def frame(rows: int) -> pd.DataFrame:
    return pd.DataFrame({"n": range(rows)})


def long_text(rows: int) -> str:
    return "x" * 70_000


def special() -> dict:
    return {"nan": math.nan, "inf": [math.inf, -math.inf], "none": None}


def huge_number() -> int:
    return 2**80


def opaque() -> object:
    return object()


def cyclic() -> list:
    own: list = []
    own.append(own)
    return own


def raises(rows: int) -> int:
    raise KeyError(f"no row {rows}")


def after_raises(raises: int) -> int:
    return raises


def leaves() -> int:
    sys.exit(3)


def segfaults() -> int:
    os.kill(os.getpid(), signal.SIGSEGV)
    return 0


def talks() -> str:
    print("first line")
    print("an unfinished line", end="")
    return "said"


def sleeps(seconds: float, started: str) -> float:
    with open(started, "w") as file:
        file.write(str(os.getpid()))
    time.sleep(seconds)
    return seconds


def after_sleep(sleeps: float) -> str:
    return "rested"


def flaky(counter: str) -> int:
    with open(counter, "a") as file:
        file.write("x")
    if os.path.getsize(counter) < 3:
        raise ConnectionError("not yet")
    return os.path.getsize(counter)
"""


class System:
    """What the tests of this file share."""

    def __init__(self, stack: Stack, device: Device) -> None:
        self.stack = stack
        self.device = device

    def run(self, final_var: str, **inputs: Any) -> dict[str, Any]:
        """Run one node of the pipeline `kinds` and return its result."""
        return self.device.wait_result(self.begin(final_var, **inputs), 30)

    def begin(self, final_var: str, **inputs: Any) -> str:
        run_id = uuid.uuid4().hex
        self.device.run("kinds", {"run_id": run_id, "final_vars": [final_var], "inputs": inputs})
        return run_id

    def statuses(self, run_id: str) -> list[str]:
        return [one["state"] for one in self.device.messages(ending=f"{run_id}/status")]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("runs")
    broker, redis = servers.mosquitto(folder / "mosquitto").start(), servers.redis_server(folder / "redis").start()
    stack = Stack(folder / "stack", broker.url, redis.url)
    stack.add_pipeline(
        "kinds",
        KINDS_PY,
        "run:\n  timeout_s: 2\n  max_retries: 2\n  retry_delay: 0.1\n  retry_exceptions: [ConnectionError]\n",
    )
    stack.start()
    device = Device(broker.url)
    yield System(stack, device)
    device.close()
    stack.stop()
    redis.stop()
    broker.stop()


@pytest.fixture
def control(system: System) -> Iterator[Control]:
    environment = system.stack.environment
    settings = Settings(mqtt_url=environment["FPBUS_MQTT_URL"], project=environment["FPBUS_PROJECT"])
    with Control.connect(settings, 10) as connected:
        yield connected


def test_a_table_is_passed_by_reference_as_parquet(system: System) -> None:
    output = system.run("frame", rows=1000)["outputs"]["frame"]

    assert (output["format"], output["summary"]) == ("parquet", "DataFrame 1000 x 1")
    assert pd.read_parquet(output["ref"])["n"].sum() == 499_500


def test_what_is_above_64_kib_is_passed_by_reference(system: System) -> None:
    output = system.run("long_text", rows=1)["outputs"]["long_text"]

    assert output["format"] == "json"
    assert Path(output["ref"].removeprefix("file://")).read_text() == '"' + "x" * 70_000 + '"'


def test_numbers_that_json_has_not_go_as_strings(system: System) -> None:
    output = system.run("special")["outputs"]["special"]

    assert output == {"json": {"nan": "NaN", "inf": ["Infinity", "-Infinity"], "none": None}, "json_special": True}


def test_an_integer_of_any_size_is_json(system: System) -> None:
    assert system.run("huge_number")["outputs"]["huge_number"] == {"json": 2**80}


@pytest.mark.parametrize("node", ["opaque", "cyclic"])
def test_an_output_that_cannot_be_encoded_fails_the_run_and_names_the_node(system: System, node: str) -> None:
    result = system.run(node)

    assert result["state"] == "failed"
    assert (result["error"]["code"], result["error"]["node"]) == ("result_not_encodable", node)


def test_an_exception_is_told_with_its_node_its_type_and_the_line_in_the_users_file(system: System) -> None:
    error = system.run("after_raises", rows=7)["error"]

    assert (error["code"], error["type"], error["node"]) == ("pipeline_error", "KeyError", "raises")
    assert "no row 7" in error["message"]
    assert "kinds.py" in error["traceback"]
    assert "hamilton" not in error["traceback"]


def test_a_missing_input_is_named(system: System) -> None:
    error = system.run("after_raises")["error"]

    assert error["code"] == "pipeline_error"
    assert "rows" in error["message"]


def test_sys_exit_in_a_pipeline_ends_its_run_and_not_the_worker(system: System) -> None:
    before = system.stack.processes["runner"].pid

    result = system.run("leaves")

    assert (result["state"], result["error"]["type"]) == ("failed", "SystemExit")
    assert system.run("talks")["state"] == "succeeded"
    assert system.stack.processes["runner"].pid == before


def test_a_run_that_kills_its_work_horse_is_dead_after_three_attempts(system: System) -> None:
    run_id = system.begin("segfaults")
    others = [system.begin("talks") for _ in range(20)]

    result = system.device.wait_result(run_id, 30)

    assert (result["state"], result["attempt"], result["error"]["code"]) == ("dead", 3, "worker_lost")
    assert all(system.device.wait_result(other)["state"] == "succeeded" for other in others)
    assert system.statuses(run_id).count("lost") == 2


def test_a_run_past_its_timeout_is_stopped(system: System, tmp_path: Path) -> None:
    result = system.run("sleeps", seconds=60, started=str(tmp_path / "started"))

    assert (result["state"], result["error"]["code"]) == ("failed", "timeout")
    took = datetime.fromisoformat(result["finished_at"]) - datetime.fromisoformat(result["started_at"])
    assert timedelta(seconds=2) <= took < timedelta(seconds=4)
    assert not psutil.pid_exists(int((tmp_path / "started").read_text()))


def test_a_running_run_can_be_cancelled(system: System, control: Control, tmp_path: Path) -> None:
    started = tmp_path / "started"
    run_id = system.begin("sleeps", seconds=1.9, started=str(started))
    horse = int(wait_for(lambda: started.exists() and started.read_text(), what="the pipeline"))

    control.cancel(run_id)
    result = system.device.wait_result(run_id, 5)

    assert (result["state"], result["error"]["code"]) == ("cancelled", "cancelled")
    assert not psutil.pid_exists(horse)


def test_a_waiting_run_can_be_cancelled_and_never_starts(system: System, control: Control, tmp_path: Path) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    request = RunRequest(run_id=uuid.uuid4().hex, inputs={"x": -1}, not_before=later)
    assert request.run_id is not None
    control.submit("add", request)

    control.cancel(request.run_id)

    assert system.device.wait_result(request.run_id)["state"] == "cancelled"
    assert -1 not in system.stack.executions()


def test_a_delayed_run_starts_at_its_time(system: System) -> None:
    due = datetime.now(UTC) + timedelta(seconds=1.5)
    run_id = uuid.uuid4().hex

    system.device.run("add", {"run_id": run_id, "inputs": {"x": 1}, "not_before": due.isoformat()})
    started = datetime.fromisoformat(system.device.wait_result(run_id)["started_at"])

    assert due <= started < due + timedelta(seconds=1.5)
    assert system.statuses(run_id)[:2] == ["accepted", "queued"]


def test_a_delayed_run_is_found_in_the_history_by_that(control: Control) -> None:
    run_id = control.submit(
        "add", RunRequest(inputs={"x": 1}, not_before=datetime.now(UTC) + timedelta(hours=1))
    ).run_id

    def delayed() -> set[str]:
        return {run.run_id for run in control.list_runs(ListRuns(state=RunState.DELAYED))}

    wait_for(lambda: run_id in delayed(), what="the delayed run in the history")
    control.cancel(run_id)
    wait_for(lambda: run_id not in delayed(), what="it to be no longer delayed")


def test_a_failure_that_may_be_temporary_is_tried_again(system: System, tmp_path: Path) -> None:
    run_id = system.begin("flaky", counter=str(tmp_path / "counter"))

    result = system.device.wait_result(run_id)

    assert (result["state"], result["attempt"]) == ("succeeded", 3)
    assert system.statuses(run_id).count("retrying") == 2


def test_what_a_pipeline_prints_becomes_its_log(system: System) -> None:
    run_id = system.begin("talks")
    system.device.wait_result(run_id)

    batches = wait_for(lambda: system.device.messages(ending=f"{run_id}/log"), what="the log")

    texts = [line["text"] for batch in batches for line in batch["lines"]]
    assert texts == ["first line", "an unfinished line"]


def test_the_nodes_of_a_slow_run_are_told_as_they_start_and_finish(system: System, tmp_path: Path) -> None:
    run_id = uuid.uuid4().hex
    inputs = {"seconds": 0.5, "started": str(tmp_path / "started")}
    system.device.run("kinds", {"run_id": run_id, "final_vars": ["after_sleep"], "inputs": inputs})
    system.device.wait_result(run_id)

    sleeping = [one["event"] for one in system.device.messages(ending=f"{run_id}/nodes/sleeps")]

    assert sleeping == ["started", "finished"]
    assert system.statuses(run_id) == ["accepted", "started"]


def test_a_module_that_cannot_be_imported_is_told(system: System) -> None:
    system.stack.add_pipeline("broken", "import nonsense_that_is_not_there\n")
    run_id = uuid.uuid4().hex

    system.device.run("broken", {"run_id": run_id})
    error = system.device.wait_result(run_id)["error"]

    assert error["code"] == "pipeline_not_loadable"
    assert "nonsense_that_is_not_there" in error["message"]


def test_an_edited_pipeline_is_used_by_later_runs(system: System) -> None:
    system.stack.add_pipeline("edited", "def version() -> int:\n    return 1\n")
    first = uuid.uuid4().hex
    system.device.run("edited", {"run_id": first})
    assert system.device.wait_result(first)["outputs"]["version"]["json"] == 1

    system.stack.add_pipeline("edited", "def version() -> int:\n    return 2  # longer\n")

    def runs_the_new_one() -> bool:
        run_id = uuid.uuid4().hex
        system.device.run("edited", {"run_id": run_id})
        return bool(system.device.wait_result(run_id)["outputs"]["version"]["json"] == 2)

    wait_for(runs_the_new_one, what="the new version")


def test_a_runner_that_is_killed_in_the_middle_of_a_run_takes_its_horse_along(stack: Stack, device: Device) -> None:
    stack.configure("runner:\n  lease_s: 2\n")
    stack.add_pipeline("kinds", KINDS_PY)
    stack.start()
    started = stack.folder / "started"
    inputs = {"seconds": 1.0, "started": str(started)}
    device.run("kinds", {"run_id": "killed", "final_vars": ["sleeps"], "inputs": inputs})
    horse = int(wait_for(lambda: started.exists() and started.read_text(), what="the start"))

    stack.restart("runner")

    wait_for(lambda: not psutil.pid_exists(horse), what="the end of the horse")
    result = device.wait_result("killed")
    assert (result["state"], result["attempt"]) == ("succeeded", 2)


def test_a_runner_that_was_frozen_past_its_lease_cannot_overwrite(stack: Stack, device: Device) -> None:
    stack.configure("runner:\n  lease_s: 2\n")
    stack.add_pipeline("kinds", KINDS_PY)
    stack.start()
    frozen = stack.processes["runner"]
    other = stack.process("runner", "--instance", "other").start().wait_ready()
    started = stack.folder / "started"
    inputs = {"seconds": 1.0, "started": str(started)}
    other.kill(signal.SIGTERM)
    device.run("kinds", {"run_id": "frozen", "final_vars": ["sleeps"], "inputs": inputs})
    wait_for(lambda: started.exists() and started.read_text(), what="the start")

    os.kill(frozen.pid, signal.SIGSTOP)
    other.start().wait_ready()
    result = device.wait_result("frozen", 30)
    os.kill(frozen.pid, signal.SIGCONT)

    assert (result["state"], result["attempt"], result["runner"]) == ("succeeded", 2, "other/1")
    wait_for(lambda: "superseded" in frozen.log.read_text() or "another worker has" in frozen.log.read_text(), 20)
    assert device.result_counts()["frozen"] == 1
    assert stack.wait_records(1) == [("frozen", "succeeded", 2)]
    other.kill(signal.SIGTERM)


def test_sigterm_lets_the_run_in_hand_finish(stack: Stack, device: Device) -> None:
    stack.add_pipeline("kinds", KINDS_PY)
    stack.start()
    started = stack.folder / "started"
    inputs = {"seconds": 1.5, "started": str(started)}
    device.run("kinds", {"run_id": "last", "final_vars": ["sleeps"], "inputs": inputs})
    wait_for(lambda: started.exists() and started.read_text(), what="the start")

    code = stack.processes["runner"].kill(signal.SIGTERM)

    result = device.wait_result("last")
    assert (code, result["state"], result["attempt"]) == (0, "succeeded", 1)


def test_a_slow_run_holds_up_no_others_when_there_are_two_workers(stack: Stack, device: Device) -> None:
    stack.configure("runner:\n  workers: 2\n")
    stack.add_pipeline("kinds", KINDS_PY)
    stack.start()
    inputs = {"seconds": 20, "started": str(stack.folder / "started")}
    device.run("kinds", {"run_id": "slow", "final_vars": ["sleeps"], "inputs": inputs})

    for number in range(100):
        device.run("add", {"run_id": f"fast-{number}", "inputs": {"x": number}})

    wait_for(lambda: len(device.result_counts()) == 100, 10, "the fast ones")
    assert "slow" not in device.result_counts()
