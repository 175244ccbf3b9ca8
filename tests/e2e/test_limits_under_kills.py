"""Limits of pipelines hold while runners are killed again and again under load, and no slot is lost."""

import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import pytest
import redis as redis_py

from fpbus.control import Control
from fpbus.lifecycle import Settings
from fpbus.schemas.queue import Execution
from support.device import Device
from support.servers import Broker, Redis
from support.stack import Process, Stack
from support.waiting import wait_for

RUNS: Final = 240
KILLS: Final = 6
LIMIT: Final = 3
PER_KEY: Final = 1
RUNNERS: Final = ("one", "two", "three")
SLOW: Final = "import time\n\n\ndef slept(seconds: float) -> float:\n    time.sleep(seconds)\n    return seconds\n"

#: What is valid at one moment, read in one step: the pipeline and the key of every run under a lease.
VALID: Final = """
local time = redis.call('TIME')
local now, found = time[1] * 1000 + math.floor(time[2] / 1000), {}
for _, lease in ipairs(redis.call('ZRANGEBYSCORE', 'fpbus:leases', now, '+inf')) do
  local job = redis.call('HMGET', 'rq:job:' .. string.match(lease, '^[^:]*'), 'pipeline', 'key')
  found[#found + 1] = {job[1] or '', job[2] or ''}
end
return found
"""


class Watcher:
    """Looks at the leases all the time, and keeps the worst that it saw."""

    def __init__(self, port: int) -> None:
        self._raw: Any = redis_py.Redis(port=port)
        self._valid = self._raw.register_script(VALID)
        self._done = threading.Event()
        self.most_of_pipeline, self.most_of_key, self.looks = 0, 0, 0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._done.wait(0.002):
            running = [(pipeline, key) for pipeline, key in self._valid() if pipeline == b"limited"]
            self.most_of_pipeline = max(self.most_of_pipeline, len(running))
            self.most_of_key = max(self.most_of_key, *Counter(running).values(), 0)
            self.looks += 1

    def busy(self) -> list[str]:
        """Return the runners that have a run in hand."""
        leases = [lease.decode() for lease in self._raw.zrange("fpbus:leases", 0, -1)]
        return sorted({Execution.parse(lease).worker.partition("/")[0] for lease in leases})

    def stop(self) -> None:
        self._done.set()
        self._thread.join()
        self._raw.close()


@pytest.fixture
def runners(stack: Stack) -> Iterator[dict[str, Process]]:
    """Have several runner processes of two workers each."""
    made = {name: stack.process("runner", "--instance", name, "--workers", "2").start() for name in RUNNERS}
    for process in made.values():
        process.wait_ready()
    yield made
    for process in made.values():
        process.kill(signal.SIGTERM)


@pytest.fixture
def limited(stack: Stack) -> Stack:
    stack.configure("runner: {lease_s: 1.5}\nlimits: {lost_attempts: 100}\n")
    stack.add_pipeline(
        "limited", SLOW, f"run: {{}}\nlimits: {{max_running: {LIMIT}, max_running_per_key: {PER_KEY}}}\n"
    )
    return stack.start("recorder", "dispatcher")


def test_no_limit_is_passed_and_no_slot_is_lost_while_runners_are_killed(
    limited: Stack, runners: dict[str, Process], device: Device, mosquitto: Broker, redis_server: Redis
) -> None:
    chance = random.Random(4)
    killed: list[str] = []
    watcher = Watcher(redis_server.port)
    for number in range(RUNS):
        device.run("limited", {"run_id": f"r{number}", "key": f"k{number % 7}", "inputs": {"seconds": 0.05}})

    with Control.connect(Settings(mqtt_url=mosquitto.url)) as control:
        for kill in range(KILLS):
            wait_results(device, kill * RUNS // (KILLS + 2))
            killed.append(chance.choice(wait_for(watcher.busy, what="a runner at work")))
            runners[killed[-1]].kill(signal.SIGKILL)
            runners[killed[-1]].start()
        wait_results(device, RUNS)
        wait_for(lambda: control.queues().open == 0, 20, "the end of all runs")
        watcher.stop()
        for name in set(killed):
            runners[name].wait_ready()

        assert watcher.looks > RUNS
        assert (watcher.most_of_pipeline, watcher.most_of_key) == (LIMIT, PER_KEY)
        assert {result["state"] for result in device.results()} == {"succeeded"}
        assert max(result["attempt"] for result in device.results()) > 1, "some were killed in the middle of a run"
        check_quiet(redis_server.port, control)
        check_slots(device, control)


def wait_results(device: Device, count: int) -> None:
    wait_for(lambda: len(device.result_counts()) >= count, 60, f"{count} results")


def check_quiet(port: int, control: Control) -> None:
    """No lease, no line, no count is left behind."""
    with redis_py.Redis(port=port) as raw:
        assert raw.zcard("fpbus:leases") == 0
        assert raw.zcard("fpbus:open") == 0
        assert raw.keys("fpbus:held*") == []
        assert [raw.zcard(f"rq:wip:{queue}") for queue in ("high", "default", "low")] == [0, 0, 0]
    assert control.queues().held == []


def check_slots(device: Device, control: Control) -> None:
    """As many run at the same time as the limit says, as if nothing had happened."""
    for number in range(LIMIT + 2):
        device.run("limited", {"run_id": f"after{number}", "key": f"a{number}", "inputs": {"seconds": 1.0}})
    wait_for(lambda: control.queues().running == LIMIT, 10, f"{LIMIT} running at the same time")
    wait_for(lambda: sum(run.startswith("after") for run in device.result_counts()) == LIMIT + 2, 30, "their results")
