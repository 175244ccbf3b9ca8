"""Windows in a real Redis: what becomes of messages by a virtual clock, and when the dispatcher is killed."""

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import redis as redis_py
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.exceptions import OutOfMemoryError

from fpbus.dispatcher.queue import FencedError, RunQueue
from fpbus.schemas import RunRequest
from fpbus.schemas.queue import RunJob, read_job_data
from fpbus.schemas.windows import BatchWindow, DebounceWindow, LatestWindow, ThrottleWindow, WindowConfig
from support.servers import Redis
from support.servers import redis_server as make_redis
from support.waiting import wait_for
from support.window_loop import BROKER, settle, window_entry

BATCH: Final = BatchWindow(size=4, max_wait_s=0.05)
DEBOUNCE: Final = DebounceWindow(quiet_s=0.02, max_wait_s=0.05)
THROTTLE: Final = ThrottleWindow(every_s=0.03)
LATEST: Final = LatestWindow(every_s=0.03)
START: Final = 1_000_000

Message = tuple[int, int]  # when, and its number
Run = tuple[int, list[int]]  # when it was made, and the messages in it


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """One server for all tests of this file; `raw` empties it before each."""
    redis = make_redis(tmp_path_factory.mktemp("redis"))
    redis.start()
    yield redis
    redis.stop()


@pytest.fixture
def raw(redis_server: Redis) -> Iterator[Any]:
    client = redis_py.Redis(port=redis_server.port)
    client.config_set("maxmemory", 0)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def queue(redis_server: Redis, raw: Any) -> Iterator[RunQueue]:
    made = RunQueue(redis_server.url, "token-1")
    assert made.hold_lease()
    yield made
    made.close()


def numbers_of(job: RunJob) -> list[int]:
    inputs = job.request.inputs or {}
    return [each["n"] for each in inputs["messages"]] if "messages" in inputs else [inputs["n"]]


# What should become of one key's messages, said as plainly as it goes.


def batches(messages: list[Message]) -> list[Run]:
    runs: list[Run] = []
    held: list[Message] = []
    for at, number in messages:
        if held and at >= held[0][0] + 50:
            runs.append((held[0][0] + 50, [n for _, n in held]))
            held = []
        held.append((at, number))
        if len(held) == 4:
            runs.append((at, [n for _, n in held]))
            held = []
    return [*runs, (held[0][0] + 50, [n for _, n in held])] if held else runs


def debounced(messages: list[Message]) -> list[Run]:
    runs: list[Run] = []
    first = 0
    for at, number in messages:
        if runs and at < runs[-1][0]:
            runs.pop()
        else:
            first = at
        runs.append((min(at + 20, first + 50), [number]))
    return runs


def throttled(messages: list[Message]) -> list[Run]:
    runs: list[Run] = []
    for at, number in messages:
        if not runs or at >= runs[-1][0] + 30:
            runs.append((at, [number]))
    return runs


def latest(messages: list[Message]) -> list[Run]:
    runs: list[Run] = []
    waiting: int | None = None
    for at, number in messages:
        if waiting is not None and at >= runs[-1][0] + 30:
            runs.append((runs[-1][0] + 30, [waiting]))
            waiting = None
        if not runs or at >= runs[-1][0] + 30:
            runs.append((at, [number]))
        else:
            waiting = number
    return runs if waiting is None else [*runs, (runs[-1][0] + 30, [waiting])]


EXPECTED: Final = [(BATCH, batches), (DEBOUNCE, debounced), (THROTTLE, throttled), (LATEST, latest)]


def play(queue: RunQueue, raw: Any, window: WindowConfig, messages: list[tuple[int, str, int]]) -> dict[str, list[Run]]:
    """Have messages come at their times, and windows closed when they are due; return the runs by key."""
    runs: dict[str, list[Run]] = {}

    def note(now: int) -> None:
        for job in settle(queue, now):
            runs.setdefault(job.request.key or "", []).append((now, numbers_of(job)))

    def close_until(now: float) -> None:
        while (first := raw.zrange("fpbus:windows:due", 0, 0, withscores=True)) and first[0][1] <= now:
            note(int(first[0][1]))

    for at, key, number in messages:
        close_until(at)
        queue.windows.take([window_entry(number, key, window)], at)
        note(at)
    close_until(float("inf"))
    return runs


def assert_adds_up(queue: RunQueue, messages: int, runs: int, ran: int) -> None:
    counts = queue.windows.counts()["add", "t"]
    assert counts["taken"] == messages
    assert counts["runs"] == runs
    assert counts["ran"] == ran
    assert ran + counts.get("discarded", 0) + counts.get("replaced", 0) == messages


def assert_nothing_left(raw: Any) -> None:
    assert raw.keys("fpbus:window*") == [b"fpbus:windows:seq"]


steps = st.lists(st.tuples(st.integers(0, 40), st.sampled_from("ab")), min_size=1, max_size=25)


@pytest.mark.parametrize(("window", "expect"), EXPECTED)
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_every_message_is_in_the_run_that_its_window_says(
    queue: RunQueue,
    raw: Any,
    window: WindowConfig,
    expect: Callable[[list[Message]], list[Run]],
    steps: list[tuple[int, str]],
) -> None:
    raw.flushall()
    queue.hold_lease()
    messages: list[tuple[int, str, int]] = []
    now = START
    for number, (pause, key) in enumerate(steps):
        now += pause
        messages.append((now, key, number))

    runs = play(queue, raw, window, messages)

    for key in "ab":
        assert runs.get(key, []) == expect([(at, number) for at, of, number in messages if of == key])
    made = [run for of_key in runs.values() for run in of_key]
    assert_adds_up(queue, len(messages), len(made), sum(len(numbers) for _, numbers in made))
    assert_nothing_left(raw)


@pytest.mark.parametrize(("window", "expect"), EXPECTED)
def test_ten_thousand_messages_of_a_hundred_keys(
    queue: RunQueue, raw: Any, window: WindowConfig, expect: Callable[[list[Message]], list[Run]]
) -> None:
    chance = random.Random(7)
    entries: dict[int, list[tuple[str, int]]] = {}
    by_key: dict[str, list[Message]] = {}
    now = START
    for number in range(10_000):
        now += chance.choice((0, 0, 0, 1))
        key = f"k{chance.randrange(100)}"
        entries.setdefault(now, []).append((key, number))
        by_key.setdefault(key, []).append((now, number))
    found: dict[str, list[Run]] = {}
    for at in range(START, now + 100):
        queue.hold_lease()
        queue.windows.due(at)
        queue.windows.take([window_entry(number, key, window) for key, number in entries.get(at, [])], at)
        while jobs := settle(queue, at):
            for job in jobs:
                found.setdefault(job.request.key or "", []).append((at, numbers_of(job)))

    assert found == {key: expect(messages) for key, messages in by_key.items()}
    made = [run for of_key in found.values() for run in of_key]
    assert_adds_up(queue, 10_000, len(made), sum(len(numbers) for _, numbers in made))
    assert raw.scard("rq:queues") == 1
    assert raw.llen("rq:queue:default") == len(made)
    assert_nothing_left(raw)


@pytest.mark.parametrize("kind", ["batch", "debounce", "throttle", "latest"])
def test_a_dispatcher_that_is_killed_loses_and_repeats_nothing(
    queue: RunQueue, raw: Any, redis_server: Redis, kind: str
) -> None:
    total, kills = 2_000, 6
    raw.rpush(BROKER, *range(total))
    chance = random.Random(kind)
    for left in [*sorted((chance.randrange(1, total) for _ in range(kills)), reverse=True), 0]:
        token = f"token-{left}"
        raw.set("fpbus:dispatcher", token, px=3000)
        child = _start_loop(redis_server, kind, token)
        try:
            wait_for(partial(_left_at_most, raw, left), 60, f"{left} messages left")
        finally:
            child.kill()
            child.wait(10)
    raw.set("fpbus:dispatcher", queue.token)
    wait_for(lambda: not settle(queue) and not raw.exists("fpbus:windows:due"), what="the end of all windows")

    names = [name.decode() for name in raw.lrange("rq:queue:default", 0, -1)]
    jobs = [read_job_data(raw.hget(f"rq:job:{name}", "data")) for name in names]
    numbers = sorted(number for job in jobs for number in numbers_of(job))
    assert len(set(numbers)) == len(numbers)
    assert_adds_up(queue, total, len(jobs), len(numbers))
    assert kind != "batch" or numbers == list(range(total))
    assert raw.keys("fpbus:window:*") == []


def _left_at_most(raw: Any, most: int) -> bool:
    return bool(raw.llen(BROKER) <= most)


def _start_loop(redis_server: Redis, kind: str, token: str) -> "subprocess.Popen[bytes]":
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "support.window_loop", redis_server.url, kind, token]
    return subprocess.Popen(command, env=environment)


def test_a_redelivery_is_not_counted_twice(queue: RunQueue, raw: Any) -> None:
    first = window_entry(1, "k", BATCH, delivery="5")
    (taken,) = queue.windows.take([first], START)
    repeated = queue.windows.take([first._replace(again=True)], START)
    other = queue.windows.take([window_entry(2, "k", BATCH, delivery="5", again=True)], START)
    assert taken.kind == "held"
    assert [(each.kind, each.run_id) for each in repeated] == [("repeated", taken.run_id)]
    assert [each.kind for each in other] == ["held"]  # its packet id had another content
    assert [numbers_of(job) for job in settle(queue, START + 50)] == [[1, 2]]
    queue.forget_deliveries()
    assert not raw.exists("fpbus:windows:deliveries")


def test_a_message_with_a_number_is_taken_once_in_its_dedup_window(queue: RunQueue, raw: Any) -> None:
    entry = window_entry(1, "k", THROTTLE)._replace(number="a7")
    kinds = [queue.windows.take([entry], START + after)[0].kind for after in (0, 10, 5000)]
    assert kinds == ["run", "repeated", "repeated"]
    assert 3_500_000 < raw.pttl("fpbus:window:number:add:t:a7") <= 3_600_000


def test_packets_are_remembered_up_to_a_number(queue: RunQueue, raw: Any) -> None:
    for number in range(20):
        queue.windows.take([window_entry(number, "k", THROTTLE, delivery=str(number))], START, remembered=8)
    assert raw.hlen("fpbus:windows:deliveries") == raw.llen("fpbus:windows:deliveries:order") == 8


def test_a_batch_closes_before_it_is_larger_than_a_payload_may_be(queue: RunQueue) -> None:
    queue.windows.batch_bytes = 7  # an input is 4 bytes
    taken = queue.windows.take([window_entry(number, "k", BATCH) for number in range(3)], START)
    assert len({each.run_id for each in taken}) == 3
    assert [numbers_of(job) for job in settle(queue, START)] == [[0], [1]]
    assert [numbers_of(job) for job in settle(queue, START + 50)] == [[2]]


def test_a_window_of_another_kind_closes_what_is_open(queue: RunQueue, raw: Any) -> None:
    queue.windows.take([window_entry(1, "k", BATCH)], START)
    queue.windows.take([window_entry(2, "k", LATEST), window_entry(3, "k", LATEST)], START + 1)
    queue.windows.take([window_entry(4, "k", DEBOUNCE)], START + 2)
    assert sorted(numbers_of(job) for job in settle(queue, START + 2)) == [[1], [2], [3]]
    assert [numbers_of(job) for job in settle(queue, START + 22)] == [[4]]
    assert_nothing_left(raw)


def test_closed_windows_come_again_until_they_are_done(queue: RunQueue) -> None:
    queue.windows.take([window_entry(number, str(number), BATCH) for number in range(5)], START)
    first = queue.windows.due(START + 50, most=3)
    assert queue.windows.due(START + 50, most=3) == first
    assert queue.windows.next_due() == 0
    queue.windows.done([each.job.run_id for each in first])
    assert [numbers_of(each.job) for each in queue.windows.due(START + 50)] == [[3], [4]]


def test_a_run_has_what_its_message_asked_for(queue: RunQueue) -> None:
    request = RunRequest(inputs={"n": 1}, key="k", reply_to="answers/1")
    entry = window_entry(1, "k", DEBOUNCE)
    job = RunJob(
        **{name: getattr(entry.job, name) for name in ("accepted_at", "timeout_s", "dedup_window_s")},
        run_id="unused",
        pipeline="add",
        request=request,
        lost_attempts=3,
        queue="high",
        traceparent="00-1",
    )
    (taken,) = queue.windows.take([entry._replace(job=job)], START)
    (closed,) = queue.windows.due(START + 20)
    assert closed.job.run_id == closed.job.request.run_id == taken.run_id
    assert (closed.trigger, closed.job.queue, closed.job.traceparent) == ("t", "high", "00-1")
    assert closed.job.request.reply_to == "answers/1"


def test_a_full_redis_takes_no_messages_and_finishes_windows(queue: RunQueue, raw: Any) -> None:
    queue.windows.take([window_entry(1, "k", DEBOUNCE)], START)
    raw.config_set("maxmemory", 1)
    with pytest.raises(OutOfMemoryError):
        queue.windows.take([window_entry(2, "k", DEBOUNCE)], START)
    (closed,) = queue.windows.due(START + 20)
    queue.windows.done([closed.job.run_id])
    raw.config_set("maxmemory", 0)
    assert_nothing_left(raw)


def test_who_does_not_hold_the_lease_touches_no_window(queue: RunQueue, raw: Any, redis_server: Redis) -> None:
    queue.windows.take([window_entry(1, "k", DEBOUNCE)], START)
    other = RunQueue(redis_server.url, "token-2")
    with pytest.raises(FencedError):
        other.windows.take([window_entry(2, "k", DEBOUNCE)], START)
    with pytest.raises(FencedError):
        other.windows.due(START + 20)
    with pytest.raises(FencedError):
        other.windows.done(["add-window-1"])
    other.close()
    assert raw.zcard("fpbus:windows:due") == 1


def test_the_next_window_is_known_without_asking(queue: RunQueue) -> None:
    assert queue.windows.next_due() == 0  # a new dispatcher has to look
    queue.windows.due()
    assert queue.windows.next_due() is None
    queue.windows.take([window_entry(1, "k", BatchWindow(max_wait_s=100))])
    waits = queue.windows.next_due()
    assert waits is not None
    assert 90 < waits <= 100
