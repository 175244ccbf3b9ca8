"""What is known of a run after its end: its nodes, its log, and its outputs one by one."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from support import servers
from support.commands import Commands, Done
from support.device import Device
from support.stack import Stack
from support.waiting import wait_for

TALKING_PY = r"""
import os
import signal
import time

import pandas as pd


def measured() -> int:
    print("measuring")
    return 7


def broken(measured: int) -> int:
    print(f"about to break on {measured} \x1b[31m\0\ud83d")
    raise ValueError(f"no use for {measured} \ud83d")


def hangs(measured: int) -> int:
    print("hanging")
    time.sleep(60)
    return measured


def crashes(measured: int) -> int:
    print("crashing")
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGSEGV)
    return measured


def slow(measured: int, go: str) -> int:
    while not os.path.exists(go):
        time.sleep(0.01)
    return measured


def frame(measured: int) -> pd.DataFrame:
    return pd.DataFrame({"n": range(measured)})


def flaky(measured: int, counter: str) -> int:
    with open(counter, "a") as file:
        file.write("x")
    print(f"attempt {os.path.getsize(counter)}")
    if os.path.getsize(counter) < 2:
        raise ConnectionError("not yet")
    return measured
"""
OVERLAY = """
run:
  timeout_s: 60
  max_retries: 1
  retry_delay: 0.1
  retry_exceptions: [ConnectionError]
allow_overrides: [timeout_s]
"""


class System:
    """A running system with one pipeline, a device, and somebody who types commands."""

    def __init__(self, stack: Stack, device: Device, fpbus: Commands) -> None:
        self.device = device
        self.stack = stack
        self.fpbus = fpbus

    def begin(self, *names: str, **settings: Any) -> str:
        run_id = uuid.uuid4().hex
        self.device.run("talking", {"run_id": run_id, "final_vars": names, **settings})
        return run_id

    def run(self, *names: str, **settings: Any) -> str:
        """Run until it is in the history, and return its id."""
        run_id = self.begin(*names, **settings)
        wait_for(lambda: run_id in self._recorded(), 30, f"a receipt for {run_id}")
        return run_id

    def _recorded(self) -> set[str]:
        batches = self.device.messages(ending="fpbus/recorded")
        return {receipt["run_id"] for batch in batches for receipt in batch["receipts"]}

    def show(self, run_id: str, *arguments: str) -> Done:
        return self.fpbus("runs", "show", run_id, *arguments)

    def known(self, run_id: str) -> dict[str, Any]:
        known: dict[str, Any] = json.loads(self.show(run_id, "--format", "json").out)
        return known

    def file_of(self, run_id: str) -> Path:
        return Path(self.known(run_id)["outputs"]["frame"]["ref"].removeprefix("file://"))


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("shown")
    broker, redis = servers.mosquitto(folder / "mosquitto").start(), servers.redis_server(folder / "redis").start()
    stack = Stack(folder / "stack", broker.url, redis.url)
    stack.add_pipeline("talking", TALKING_PY, OVERLAY)
    stack.start()
    device = Device(broker.url)
    fpbus = Commands(folder)
    fpbus.environment |= {name: stack.environment[name] for name in ("FPBUS_MQTT_URL", "FPBUS_PROJECT")}
    yield System(stack, device, fpbus)
    device.close()
    stack.stop()
    redis.stop()
    broker.stop()


def nodes_of(known: dict[str, Any]) -> list[tuple[str, str]]:
    return [(node["node"], node["state"]) for node in known["nodes"]]


def texts_of(known: dict[str, Any]) -> list[str]:
    return [line["text"] for line in known["log"]]


def test_a_run_that_fails_tells_which_node_and_what_was_said_until_then(system: System) -> None:
    run_id = system.run("broken")

    known, shown = system.known(run_id), system.show(run_id).out

    assert nodes_of(known) == [("measured", "finished"), ("broken", "failed")]
    assert (known["nodes"][1]["error"], known["error"]["message"]) == ("ValueError: no use for 7 ?", "no use for 7 ?")
    assert texts_of(known) == ["measuring", "about to break on 7 \x1b[31m\0?"]
    assert "info     measuring\n" in shown
    assert {line.split()[0] for line in shown.splitlines() if line} >= {"run", "AT", "NODE", "measured", "broken"}


def test_a_run_that_is_stopped_at_its_timeout_tells_where_it_hung_and_its_log(system: System) -> None:
    known = system.known(system.run("hangs", timeout_s=1.5))

    assert (known["state"], known["error"]["code"]) == ("failed", "timeout")
    assert nodes_of(known) == [("measured", "finished"), ("hangs", "started")]
    assert texts_of(known) == ["measuring", "hanging"]


def test_a_run_whose_worker_dies_tells_what_its_last_attempt_did(system: System) -> None:
    known = system.known(system.run("crashes"))

    assert (known["state"], known["attempt"]) == ("dead", 3)
    assert nodes_of(known) == [("measured", "finished"), ("crashes", "started")]
    assert texts_of(known) == ["measuring", "crashing"]


def test_a_run_that_was_tried_again_tells_of_its_last_attempt(system: System, tmp_path: Path) -> None:
    known = system.known(system.run("flaky", inputs={"counter": str(tmp_path / "counter")}))

    assert (known["attempt"], texts_of(known)) == (2, ["measuring", "attempt 2"])
    assert [moment["state"] for moment in known["timeline"]][-1] == "succeeded"


def test_a_run_that_goes_on_tells_its_timeline_only(system: System, tmp_path: Path) -> None:
    run_id = system.begin("slow", inputs={"go": str(tmp_path / "go")})
    wait_for(lambda: "started" in system.show(run_id).out, what="the start in the history")

    known = system.known(run_id)
    (tmp_path / "go").touch()

    assert [moment["state"] for moment in known["timeline"]] == ["accepted", "started"]
    assert not known.keys() & {"nodes", "log", "outputs"}


def test_what_goes_to_a_device_has_neither_nodes_nor_log(system: System) -> None:
    system.device.client.subscribe("devices/d1/answers", 1)

    run_id = system.run("measured", reply_to="devices/d1/answers")

    (answer,) = wait_for(lambda: system.device.messages(ending="devices/d1/answers"), what="the answer")
    assert answer["outputs"] == {"measured": {"json": 7}}
    assert not answer.keys() & {"nodes", "log", "dropped"}
    assert system.device.wait_result(run_id)["log"][0]["text"] == "measuring"


def test_an_output_is_printed_or_saved_as_it_is(system: System) -> None:
    run_id = system.run("measured", "frame")
    folder = system.fpbus.folder

    printed = system.show(run_id, "--output", "measured")
    saved = system.show(run_id, "--output", "measured", "--save", "measured.json")
    table = system.show(run_id, "--output", "frame", "--save", "frame.parquet")

    assert (printed.code, printed.out) == (0, "7\n")
    assert (saved.code, saved.told, (folder / "measured.json").read_text()) == (
        0,
        "Saved 2 bytes to measured.json.\n",
        "7\n",
    )
    assert table.code == 0
    ref = system.file_of(run_id)
    assert (folder / "frame.parquet").read_bytes() == ref.read_bytes()
    assert pd.read_parquet(folder / "frame.parquet")["n"].sum() == 21


def test_an_output_that_is_not_there_is_told_with_one_that_is_like_it(system: System) -> None:
    run_id = system.run("frame")

    wrong = system.show(run_id, "--output", "fram")
    failed = system.show(system.run("broken"), "--output", "broken")
    alone = system.show(run_id, "--save", "somewhere")

    assert (wrong.code, "Did you mean 'frame'?" in wrong.told) == (4, True)
    assert (failed.code, "has no outputs: it is failed" in failed.told) == (4, True)
    assert (alone.code, "--output NAME" in alone.told) == (2, True)


def test_an_output_whose_file_is_gone_is_told(system: System) -> None:
    run_id = system.run("frame")
    system.file_of(run_id).unlink()

    gone = system.show(run_id, "--output", "frame", "--save", "gone.parquet")

    assert gone.code not in {0, 1}
    assert "There is no file" in gone.told
    assert not list(system.fpbus.folder.glob("gone*"))
