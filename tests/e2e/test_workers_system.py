"""Workers of a running system: they drain, grow and shrink under load, and stop what will not stop by itself."""

import contextlib
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from fpbus.control import Control
from fpbus.lifecycle import Settings
from fpbus.schemas import ListJobs, Priority, RunRequest
from fpbus.supervisor.children import birth_of
from support.commands import Commands
from support.device import Device
from support.servers import mosquitto as make_mosquitto
from support.servers import redis_server as make_redis
from support.stack import Process, Stack
from support.waiting import wait_for

WAITING: Final = 60
GRACE_S: Final = 12

MARKS: Final = """
import os
import time


def answer(x: int, seconds: float, folder: str) -> int:
    time.sleep(seconds)
    with open(f"{folder}/executions", "a") as file:
        file.write(f"{x}\\n")
    return x
"""

# The regular expression holds the interpreter's lock for longer than anybody lives.
STUBBORN: Final = """
import os
import re
import signal


def answer(marks: str, how: str) -> str:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with open(marks, "w") as file:
        file.write(str(os.getpid()))
    if how == "c":
        re.match("(a+)+$", "a" * 60 + "b")
    while True:
        try:
            signal.pause()
        except BaseException:
            pass
"""


class Place:
    """A dispatcher and a recorder, and runners that come and go."""

    def __init__(self, stack: Stack, control: Control, device: Device) -> None:
        self.stack = stack
        self.control = control
        self.device = device

    def runner(self, name: str, *options: str) -> Process:
        return self.stack.process("runner", "--instance", name, *options).start()

    def submit(self, pipeline: str, **fields: Any) -> str:
        return self.control.submit(pipeline, RunRequest(**fields)).run_id

    def executions(self) -> Counter[int]:
        path = self.stack.folder / "executions"
        return Counter(int(line) for line in path.read_text().split()) if path.exists() else Counter()

    def running(self) -> list[tuple[str, str | None, int]]:
        jobs = self.control.jobs(ListJobs(state="started"))
        return [(job.run_id, job.worker, job.attempt) for job in jobs]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("workers")
    broker, redis = make_mosquitto(folder / "mosquitto").start(), make_redis(folder / "redis").start()
    stack = Stack(folder / "stack", broker.url, redis.url)
    stack.configure(f"runner: {{grace_s: {GRACE_S}}}\n")
    stack.add_pipeline("marks", MARKS, f"params: {{folder: {stack.folder}, seconds: 0.0}}\n")
    stack.add_pipeline("stubborn", STUBBORN)
    stack.add_pipeline("brief", STUBBORN, "run: {timeout_s: 1}\n")
    with contextlib.ExitStack() as ending:
        for stop in (broker.stop, redis.stop, stack.stop):
            ending.callback(stop)
        stack.start("recorder", "dispatcher")
        control = ending.enter_context(Control.connect(Settings(mqtt_url=broker.url)))
        device = Device(broker.url)
        ending.callback(device.close)
        yield Place(stack, control, device)


@pytest.fixture(scope="module")
def runner(place: Place) -> Iterator[Process]:
    """One runner that stays for all tests, and serves no queue with a name of its own."""
    process = place.runner("stays", "--workers", "2", "--queue-names", "high,default,low").wait_ready()
    yield process
    process.kill(signal.SIGTERM)


class Load:
    """Publishes runs until it is told to stop, some short and some longer, and always has some that wait."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._done = threading.Event()
        self.sent = 0
        self._thread = threading.Thread(target=self._publish, daemon=True)
        self._thread.start()

    def _publish(self) -> None:
        while not self._done.is_set():
            if self.sent - len(self.results()) > WAITING:
                self._done.wait(0.01)
                continue
            seconds = 0.3 if self.sent % 20 == 0 else 0.01
            request = {"run_id": f"load{self.sent}", "inputs": {"x": self.sent, "seconds": seconds}}
            self._device.run("marks", request)
            self.sent += 1

    def results(self) -> list[dict[str, Any]]:
        return [result for result in self._device.results() if result["run_id"].startswith("load")]

    def wait_for_more(self, count: int, worker: str) -> None:
        """Wait until one worker has done that many more runs."""
        before = len(self.results())
        wait_for(
            lambda: sum(result["runner"].startswith(worker) for result in self.results()[before:]) >= count,
            40,
            f"{count} results of {worker}",
        )

    def stop(self) -> None:
        self._done.set()
        self._thread.join()


def test_drained_grown_and_shrunk_under_load_no_run_is_lost_and_none_runs_twice(place: Place, runner: Process) -> None:
    del runner
    before = place.executions()
    load = Load(place.device)

    codes: list[int] = []
    sizes: list[tuple[int, int]] = []
    for _ in range(3):
        guest = place.runner("guest", "--workers", "2").wait_ready()
        grown = place.control.set_workers("stays", 4)
        load.wait_for_more(5, "guest/")
        load.wait_for_more(5, "stays/4")
        shrunk = place.control.set_workers("stays", 2)
        codes.append(guest.kill(signal.SIGTERM))
        sizes += [(grown.before, grown.workers), (shrunk.before, shrunk.workers)]
    load.stop()
    wait_for(lambda: len(load.results()) >= load.sent, 60, "all results")

    results = load.results()
    assert codes == [0, 0, 0]
    assert sizes == [(2, 4), (4, 2)] * 3
    assert Counter(result["state"] for result in results) == {"succeeded": load.sent}
    assert {result["attempt"] for result in results} == {1}, "what was handed back had not been started"
    assert place.executions() - before == Counter(range(load.sent))
    wait_for(lambda: len(place.control.workers()) == 2, what="those to leave who were to leave")


def test_a_runner_that_is_told_to_stop_hands_back_what_takes_longer_than_its_grace(
    place: Place, runner: Process
) -> None:
    del runner
    first = place.runner("first", "--queue-names", "default").wait_ready()
    place.control.set_workers("stays", 1)
    runs = [place.submit("marks", inputs={"x": -number, "seconds": 300}) for number in (1, 2)]
    wait_for(lambda: {run for run, *_ in place.running()} == set(runs), what="both to run")
    (mine,) = [run for run, worker, _ in place.running() if worker == "first/1"]

    asked_at = time.monotonic()
    code = first.kill(signal.SIGTERM)

    assert code == 0
    assert time.monotonic() - asked_at < GRACE_S, "that is the promise"
    job = place.control.show_job(mine)
    assert (job.state, job.attempt) == ("queued", 1)
    place.control.set_workers("stays", 2)
    wait_for(lambda: (mine, "stays/2", 2) in place.running(), what="another worker to take it at once")
    assert place.control.cancel_all(pipeline="marks").cancelling == 2
    assert {place.device.wait_result(run)["state"] for run in runs} == {"cancelled"}


@pytest.mark.parametrize("how", ["c", "signals"])
def test_what_ignores_every_signal_or_is_in_c_code_is_cancelled_within_two_seconds(
    place: Place, runner: Process, how: str
) -> None:
    del runner
    marks = place.stack.folder / f"cancelled-{how}"
    run = place.submit("stubborn", inputs={"marks": str(marks), "how": how})
    pid = int(wait_for(lambda: marks.exists() and marks.read_text(), what="its start"))

    asked_at = time.monotonic()
    assert place.control.cancel(run).cancelling
    wait_for(lambda: birth_of(pid) is None, 2, "the end of its process")
    result = place.device.wait_result(run)

    assert time.monotonic() - asked_at < 2, "that is the promise"
    assert (result["state"], result["error"]["code"]) == ("cancelled", "cancelled")


@pytest.mark.parametrize("how", ["c", "signals"])
def test_what_ignores_every_signal_or_is_in_c_code_ends_at_its_timeout(place: Place, runner: Process, how: str) -> None:
    del runner
    marks = place.stack.folder / f"timed-{how}"
    run = place.submit("brief", inputs={"marks": str(marks), "how": how})

    result = place.device.wait_result(run)

    assert (result["state"], result["error"]["code"]) == ("failed", "timeout")
    wait_for(lambda: birth_of(int(marks.read_text())) is None, 2, "the end of its process")


def test_a_runner_has_an_executor_for_runs_that_ask_for_none(place: Place) -> None:
    place.stack.add_pipeline(
        "where", "import os\n\n\ndef pid() -> int:\n    return os.getpid()\n", "run: {queue: pool}\n"
    )
    runner = place.runner("pooled", "--queue-names", "pool", "--job-executor", "processpool").wait_ready()
    runs = [place.submit("where"), place.submit("where", executor="local")]

    elsewhere, here = (place.device.wait_result(run)["outputs"]["pid"]["json"] for run in runs)
    (horse,) = (worker.pid for worker in place.control.workers() if worker.name == "pooled/1")
    runner.kill(signal.SIGTERM)

    assert here == horse
    assert elsewhere != horse


def test_a_run_in_a_queue_that_nobody_serves_is_told_of_and_expires(place: Place) -> None:
    place.stack.add_pipeline("lonely", "def seen(x: int) -> int:\n    return x\n", "run: {queue: gpu}\n")
    deadline = datetime.now(UTC) + timedelta(seconds=1)

    accepted = place.control.submit("lonely", RunRequest(inputs={"x": 1}, priority=Priority.LOW, expires_at=deadline))
    result = place.device.wait_result(accepted.run_id)

    hint = "No worker serves the queue 'gpu.low'. Start one: fpbus job-queue start-worker --queue-names gpu"
    assert accepted.reason == hint
    fpbus = Commands(place.stack.project)
    typed = fpbus("trigger", "lonely", "--input=x=1", "--run-id", "typed", environment=place.stack.environment)
    assert (typed.code, typed.out.strip()) == (0, "typed")
    assert typed.told == f"{hint.replace('gpu.low', 'gpu')}\n"
    place.control.cancel("typed")
    assert (result["state"], result["error"]["code"]) == ("cancelled", "expired")


def test_a_run_that_expires_while_it_waits_is_cancelled_then(place: Place, runner: Process) -> None:
    del runner
    before = place.executions()
    place.control.pause_pipeline("marks")
    deadline = datetime.now(UTC) + timedelta(seconds=1)
    late = place.submit("marks", inputs={"x": 7000}, expires_at=deadline)
    early = place.submit("marks", inputs={"x": 7001}, expires_at=deadline + timedelta(hours=1))

    result = place.device.wait_result(late)
    place.control.resume_pipeline("marks")

    assert (result["state"], result["error"]["code"]) == ("cancelled", "expired")
    assert timedelta() < datetime.fromisoformat(result["finished_at"]) - deadline < timedelta(seconds=5), "as promised"
    assert place.device.wait_result(early)["state"] == "succeeded"
    assert place.executions() - before == Counter([7001])
