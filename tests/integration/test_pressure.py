"""What waits is told on `fpbus/pressure`, retained."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import redis as redis_py

from fpbus.bus import Bus, Inbox, open_bus
from fpbus.dispatcher.pressure import PressureGauge
from fpbus.dispatcher.queue import RunQueue, Submission
from fpbus.runner.queue import WorkQueue
from fpbus.schemas import Pressure, RunRequest, decode, topics
from fpbus.schemas.queue import QUEUES, RunJob
from support.servers import Broker, Redis
from support.stack import Stack
from support.waiting import wait_for


@pytest.fixture
def queue(redis_server: Redis) -> Iterator[RunQueue]:
    made = RunQueue(redis_server.url, "token-1")
    assert made.hold_lease()
    yield made
    made.close()


@pytest.fixture
def raw(redis_server: Redis) -> Iterator[Any]:
    client = redis_py.Redis(port=redis_server.port)
    yield client
    client.close()


def _submit(queue: RunQueue, count: int) -> None:
    jobs = [
        RunJob(
            run_id=f"r{number}",
            pipeline="add",
            request=RunRequest(),
            accepted_at=datetime.now(UTC),
            timeout_s=60,
            dedup_window_s=3600,
            lost_attempts=3,
            queue="default",
        )
        for number in range(count)
    ]
    queue.submit([Submission(job, b"d" * 16) for job in jobs])


def _retained(url: str) -> Pressure | None:
    """Return what somebody hears who comes now."""
    bus, inbox = open_bus(url, "newcomer"), Inbox()
    bus.start()
    assert bus.wait_connected(5)
    bus.subscribe(inbox, topics.PRESSURE)
    heard = inbox.take(1, 5)
    bus.stop()
    return decode(heard[0].payload, Pressure) if heard else None


def _connected(url: str) -> Bus:
    bus = open_bus(url, "gauge")
    bus.start()
    assert bus.wait_connected(5)
    return bus


def test_depth_age_and_expected_wait_of_each_queue(
    mosquitto: Broker, redis_server: Redis, queue: RunQueue, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fpbus.dispatcher.pressure.EVERY_S", 0.0)
    bus, work = _connected(mosquitto.url), WorkQueue(redis_server.url, QUEUES, 10.0)
    gauge = PressureGauge(bus, queue)
    _submit(queue, 100)
    raw.zincrby("fpbus:open", -60_000, "r0")

    gauge.tell()
    before = wait_for(lambda: _depth(mosquitto.url, 100), what="the first word")
    work.claim("w", 40)
    gauge.tell()
    after = wait_for(lambda: _depth(mosquitto.url, 60), what="the second")

    assert before is not None
    assert after is not None
    waiting, less = ({one.queue: one for one in pressure.queues}["default"] for pressure in (before, after))
    assert (waiting.depth, waiting.wait_s) == (100, None)
    assert waiting.oldest_s == pytest.approx(60, abs=20)
    assert less.oldest_s < 30
    assert less.wait_s is not None
    bus.stop()
    work.close()


def _depth(url: str, depth: int) -> Pressure | None:
    pressure = _retained(url)
    return pressure if pressure and sum(one.depth for one in pressure.queues) == depth else None


def test_a_dispatcher_tells_what_waits_while_nobody_works(stack: Stack, mosquitto: Broker, device: Any) -> None:
    stack.start("recorder", "dispatcher")
    for number in range(5):
        device.run("add", {"run_id": f"r{number}", "inputs": {"x": number}})

    assert wait_for(lambda: _depth(mosquitto.url, 5), 20, "five that wait")

    stack.start("runner")
    stack.wait_records(5)
    assert wait_for(lambda: _depth(mosquitto.url, 0), 20, "none")
