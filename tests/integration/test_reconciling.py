"""Open runs that stand nowhere come back, each once, and nothing else is touched."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis as redis_py

from fpbus.dispatcher.queue import RunQueue, Submission
from fpbus.dispatcher.reconciling import LOOK_AT, Reconciler
from fpbus.runner.queue import WorkQueue
from fpbus.schemas import RunRequest, RunResult, RunState
from fpbus.schemas.queue import QUEUES, RunJob
from support.servers import Redis

NOW = datetime.now(UTC)
DIGEST = b"d" * 16


@pytest.fixture
def raw(redis_server: Redis) -> Iterator[Any]:
    client = redis_py.Redis(port=redis_server.port)
    yield client
    client.close()


@pytest.fixture
def queue(redis_server: Redis) -> Iterator[RunQueue]:
    made = RunQueue(redis_server.url, "token-1")
    assert made.hold_lease()
    yield made
    made.close()


@pytest.fixture
def work(redis_server: Redis) -> Iterator[WorkQueue]:
    made = WorkQueue(redis_server.url, QUEUES, 10.0)
    yield made
    made.close()


@pytest.fixture
def ended() -> list[RunResult]:
    return []


@pytest.fixture
def reconciler(queue: RunQueue, ended: list[RunResult]) -> Reconciler:
    return Reconciler(queue, lambda _, result: ended.append(result))


def submit(queue: RunQueue, *run_ids: str, not_before: datetime | None = None) -> None:
    jobs = [
        RunJob(
            run_id=run_id,
            pipeline="add",
            request=RunRequest(run_id=run_id),
            accepted_at=NOW,
            timeout_s=60,
            dedup_window_s=3600,
            lost_attempts=3,
            queue="default",
            not_before=not_before,
        )
        for run_id in run_ids
    ]
    queue.submit([Submission(job, DIGEST) for job in jobs])


def claimed(work: WorkQueue, most: int = 16) -> list[tuple[str, int, int]]:
    claims, _ = work.claim("w", most)
    return [(claim.run_id, claim.execution.attempt, claim.lost_before) for claim in claims]


TAKEN: dict[str, Callable[[Any], None]] = {
    "out of its queue": lambda raw: raw.lrem("rq:queue:default", 1, "r"),
    "with the whole queue": lambda raw: raw.delete("rq:queue:default"),
    "by RQ's own worker": lambda raw: raw.lpop("rq:queue:default"),
}


@pytest.mark.parametrize("how", TAKEN)
def test_a_run_that_was_taken_from_the_queue_comes_back(
    how: str, queue: RunQueue, work: WorkQueue, raw: Any, reconciler: Reconciler
) -> None:
    submit(queue, "r")
    TAKEN[how](raw)

    reconciler.settle()
    reconciler.settle()

    assert raw.lrange("rq:queue:default", 0, -1) == [b"r"]
    assert claimed(work) == [("r", 1, 0)]
    assert raw.hget("fpbus:counters", "put_back") == b"1"


def test_a_run_whose_lease_is_gone_has_lost_an_attempt_and_the_third_is_the_last(
    queue: RunQueue, work: WorkQueue, raw: Any, reconciler: Reconciler, ended: list[RunResult]
) -> None:
    submit(queue, "r")

    attempts = list[tuple[str, int, int]]()
    for _ in range(3):
        attempts += claimed(work)
        raw.delete("fpbus:leases")
        reconciler.settle()

    assert attempts == [("r", 1, 0), ("r", 2, 1), ("r", 3, 2)]
    assert [(result.run_id, result.state, result.attempt) for result in ended] == [("r", RunState.DEAD, 3)]
    assert (raw.zcard("fpbus:open"), raw.hget("fpbus:run:r", "s")) == (0, b"dead")
    assert raw.hexists("fpbus:outbox", "r")


def test_a_delayed_run_waits_for_its_time_again(queue: RunQueue, raw: Any, reconciler: Reconciler) -> None:
    due = datetime.now(UTC) + timedelta(hours=1)
    submit(queue, "r", not_before=due)
    raw.delete("rq:scheduled:default")

    reconciler.settle()

    assert raw.zscore("rq:scheduled:default", "r") == pytest.approx(due.timestamp(), abs=0.01)
    assert raw.llen("rq:queue:default") == 0


@pytest.mark.parametrize("value", [None, "text"])
def test_a_run_whose_data_is_gone_is_dead_and_says_so(
    value: str | None, queue: RunQueue, raw: Any, reconciler: Reconciler, ended: list[RunResult]
) -> None:
    submit(queue, "r")
    raw.delete("rq:job:r", "rq:queue:default")
    if value is not None:
        raw.set("rq:job:r", value)

    reconciler.settle()

    (result,) = ended
    assert (result.run_id, result.pipeline, result.state) == ("r", "add", RunState.DEAD)
    assert result.error is not None
    assert "gone from Redis" in result.error.message
    assert raw.hget("fpbus:run:r", "s") == b"dead"


def test_what_has_a_place_keeps_it(
    queue: RunQueue, work: WorkQueue, raw: Any, reconciler: Reconciler, ended: list[RunResult]
) -> None:
    submit(queue, "running")
    claimed(work)
    submit(queue, "later", not_before=datetime.now(UTC) + timedelta(hours=1))
    queue.pause("add", NOW)
    submit(queue, "held")
    raw.hdel("fpbus:paused", "add")
    submit(queue, "queued")

    for _ in range(3):
        reconciler.settle()

    assert raw.hget("fpbus:counters", "put_back") is None
    assert (raw.lrange("rq:queue:default", 0, -1), raw.zcard("fpbus:leases"), ended) == ([b"queued"], 1, [])
    assert (raw.zrange("fpbus:held", 0, -1), raw.zrange("rq:scheduled:default", 0, -1)) == ([b"held"], [b"later"])


def test_a_part_is_looked_at_each_time_and_all_in_the_end(queue: RunQueue, raw: Any, reconciler: Reconciler) -> None:
    many = 3 * LOOK_AT
    submit(queue, *[f"r{number}" for number in range(many)])
    raw.delete("rq:queue:default")

    counts = list[int]()
    for _ in range(4):
        reconciler.settle()
        counts.append(raw.llen("rq:queue:default"))

    assert counts[0] == LOOK_AT
    assert counts[-1] == many


def test_workers_that_claim_meanwhile_get_each_run_once(
    redis_server: Redis, queue: RunQueue, raw: Any, reconciler: Reconciler
) -> None:
    many = 400
    submit(queue, *[f"r{number}" for number in range(many)])
    for number in range(0, many, 4):
        raw.lrem("rq:queue:default", 1, f"r{number}")
    seen, lock = list[str](), threading.Lock()

    def work_off(name: str) -> None:
        own = WorkQueue(redis_server.url, QUEUES, 10.0)
        while len(seen) < many and not over.is_set():
            claims, _ = own.claim(name, 5)
            with lock:
                seen.extend(claim.run_id for claim in claims)
        own.close()

    over = threading.Event()
    workers = [threading.Thread(target=work_off, args=(f"w{number}",)) for number in range(3)]
    for worker in workers:
        worker.start()
    for _ in range(40):
        reconciler.settle()
    for worker in workers:
        worker.join(20)
    over.set()

    assert sorted(seen) == sorted(f"r{number}" for number in range(many))
    assert raw.hget("fpbus:counters", "lost_attempts") is None
