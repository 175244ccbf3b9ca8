"""Two schedulers over one store, each killed again and again: every due time is one run, and none is missing.

`FPBUS_KILLS_S=120` makes it as long.
"""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fpbus.bus import Bus, Inbox, NoAnswerError, open_bus
from fpbus.scheduler.handlers import run_id_of
from fpbus.schemas import PutSchedule, RunRequest, RunState, RunStatus, decode, topics
from support.servers import Broker
from support.waiting import wait_for

LONG_S = float(os.environ.get("FPBUS_KILLS_S", "20"))

_MAIN = """
import sys
from fpbus.lifecycle import Settings, configure_logs
from fpbus.scheduler import serve
configure_logs("INFO", "console")
serve(Settings(mqtt_url=sys.argv[1], project=sys.argv[2], instance=sys.argv[3]))
"""


class Pair:
    """Two schedulers, started again whenever they are killed."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self._folder = folder
        self._dice = random.Random(20)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.kills = 0

    def start(self, instance: str) -> None:
        command = [sys.executable, "-c", _MAIN, self._url, str(self._folder), instance]
        with (self._folder / f"{instance}.log").open("ab") as log:
            self._processes[instance] = subprocess.Popen(command, stdout=log, stderr=log)

    def kill_one(self) -> None:
        instance = self._dice.choice(["one", "two"])
        self._processes[instance].kill()
        self._processes[instance].wait(10)
        self.kills += 1
        self.start(instance)

    def next_kill(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self._dice.uniform(0.5, 4))

    def end(self) -> None:
        for process in self._processes.values():
            process.send_signal(signal.SIGKILL)
            process.wait(10)


@pytest.fixture
def pair(mosquitto: Broker, tmp_path: Path) -> Iterator[Pair]:
    folder = tmp_path / "project"
    (folder / "conf/pipelines").mkdir(parents=True)
    (folder / "conf/project.yml").write_text("name: shop\n")
    (folder / "conf/pipelines/tick.yml").write_text("run: {max_retries: 0}\n")
    pair = Pair(mosquitto.url, folder)
    yield pair
    pair.end()


class Ledger:
    """Accepts each run once, as the dispatcher does; its own session is durable."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._inbox = Inbox()
        self.runs: list[str] = []
        self.repeats = 0
        bus.subscribe(self._inbox, topics.RUN)

    def work(self) -> list[str]:
        """Accept what has come, and return all runs so far."""
        for delivery in self._inbox.take(1000, 0.05):
            run_id = decode(delivery.payload, RunRequest).run_id or ""
            known = run_id in self.runs
            self.repeats += known
            if not known:
                self.runs.append(run_id)
            status = RunStatus(
                run_id=run_id, pipeline="tick", state=RunState.ACCEPTED, at=datetime.now(UTC), duplicate=known
            )
            self._bus.publish(topics.status("tick", run_id), status)
            self._bus.ack(delivery)
        return self.runs


def test_each_due_time_is_one_run_whoever_dies(mosquitto: Broker, pair: Pair) -> None:
    bus = open_bus(mosquitto.url, "ledger", durable=True)
    ledger = Ledger(bus)
    bus.start()
    assert bus.wait_connected(10)
    pair.start("one")
    pair.start("two")

    def put() -> bool:
        try:
            ask = PutSchedule(pipeline="tick", id="tick", interval=1, misfire="all", overwrite=True)
            return bus.call("scheduler", "put_schedule", ask, timeout_s=1) is not None
        except NoAnswerError:
            return False

    wait_for(put, what="an answer")
    first = wait_for(ledger.work, what="the first run")[0]

    end, kill_at = datetime.now(UTC) + timedelta(seconds=LONG_S), pair.next_kill()
    while (now := datetime.now(UTC)) < end:
        ledger.work()
        if now >= kill_at:
            pair.kill_one()
            kill_at = pair.next_kill()

    def complete() -> bool:
        ledger.work()
        return slots(first, end) <= set(ledger.runs)

    wait_for(complete, 20, what="a run for every second")
    bus.stop()
    assert pair.kills >= LONG_S / 4 - 1
    assert ledger.repeats > 0  # two of them did ask
    assert set(ledger.runs) - slots(first, end + timedelta(seconds=60)) == set()


def slots(first: str, end: datetime) -> set[str]:
    start = datetime.strptime(first.split("-")[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    count = int((end - start).total_seconds())
    return {run_id_of("tick", start + timedelta(seconds=second)) for second in range(count + 1)}
