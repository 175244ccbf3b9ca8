"""What steers runs in Redis, against a real one: pausing and limits."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis as redis_py

from fpbus.dispatcher.handlers import lost_result
from fpbus.dispatcher.queue import RunQueue
from fpbus.runner.orders import Ended
from fpbus.runner.queue import WorkQueue
from fpbus.schemas import PipelineLimits, RunState
from fpbus.schemas.queue import QUEUES
from support.runs_in_redis import NOW, claim, finish, held_keys, ledger, let_lapse, names, submit
from support.servers import Redis
from support.servers import redis_server as make_redis
from support.waiting import wait_for


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
    made = RunQueue(redis_server.url, "token")
    assert made.hold_lease()
    yield made
    made.close()


@pytest.fixture
def work(redis_server: Redis) -> Iterator[WorkQueue]:
    made = WorkQueue(redis_server.url, QUEUES, 10.0)
    yield made
    made.close()


# Pausing.


def test_a_paused_pipeline_holds_what_is_queued_and_what_comes_and_others_run(
    queue: RunQueue, work: WorkQueue, raw: Any
) -> None:
    submit(queue, "a", "b")
    submit(queue, "other", pipeline="sub")

    assert queue.pause("add", NOW)
    submit(queue, "c")

    assert names(claim(work)) == ["other"]
    assert names(claim(work)) == []
    assert [ledger(raw, run) for run in "abc"] == ["queued"] * 3
    (held,) = queue.depths().held
    assert (held.pipeline, held.held, held.paused_since) == ("add", 3, NOW)


def test_resuming_gives_back_what_was_held_once_each_and_in_order(queue: RunQueue, work: WorkQueue, raw: Any) -> None:
    names_of_all = [f"r{number:03}" for number in range(100)]
    submit(queue, *names_of_all[:60])
    queue.pause("add", NOW)
    assert claim(work) == []
    submit(queue, *names_of_all[60:])
    raw.delete("fpbus:doorbell:default")

    assert queue.pause("add", None)
    submit(queue, "later")

    assert raw.llen("fpbus:doorbell:default") == 1
    assert [run for _ in range(7) for run in names(claim(work))] == [*names_of_all, "later"]
    assert claim(work) == []
    assert held_keys(raw) == []
    assert queue.depths().held == []


def test_pausing_twice_and_resuming_twice_says_that_nothing_changed(queue: RunQueue) -> None:
    assert [queue.pause("add", since) for since in (NOW, NOW, None, None)] == [True, False, True, False]


def test_a_run_whose_worker_was_lost_or_that_falls_due_waits_while_its_pipeline_is_paused(
    queue: RunQueue, work: WorkQueue, raw: Any
) -> None:
    submit(queue, "first")
    claim(work)
    submit(queue, "due", not_before=NOW)
    queue.pause("add", NOW)
    let_lapse(raw)
    (lost,) = queue.lapsed()

    assert queue.settle(lost, lost_result(lost.job, 1, 0, NOW)) == "queued"
    assert [job.run_id for job in queue.promote()] == ["due"]
    assert claim(work) == []
    queue.pause("add", None)

    assert [(one.run_id, one.execution.attempt) for one in claim(work)] == [("first", 2), ("due", 1)]


def test_a_claim_puts_aside_a_part_at_a_time_and_rings_for_the_rest(queue: RunQueue, work: WorkQueue, raw: Any) -> None:
    for start in range(0, 700, 100):
        submit(queue, *[f"r{number}" for number in range(start, start + 100)])
    submit(queue, "other", pipeline="sub")
    queue.pause("add", NOW)
    raw.delete("fpbus:doorbell:default")

    assert claim(work) == []
    assert raw.llen("fpbus:doorbell:default") == 1
    assert names(claim(work)) == ["other"]


# Limits.


def limit(queue: RunQueue, pipeline: str = "add", **limits: Any) -> None:
    queue.put_limits({pipeline: PipelineLimits(**limits)})


def test_no_more_runs_start_than_the_limit_says_and_a_free_slot_is_taken_in_order(
    queue: RunQueue, work: WorkQueue, raw: Any
) -> None:
    limit(queue, max_running=2)
    submit(queue, "a", "b", "c", "d")
    submit(queue, "other", pipeline="sub")
    a, b, other = claim(work)
    raw.delete("fpbus:doorbell:default")

    finish(work, b)

    assert names([a, b, other]) == ["a", "b", "other"]
    assert raw.llen("fpbus:doorbell:default") == 1
    assert names(claim(work)) == ["c"]
    assert names(claim(work)) == []


@pytest.mark.parametrize("way", ["retry", "release", "settle"])
def test_every_way_in_which_an_attempt_ends_frees_its_slot(
    queue: RunQueue, work: WorkQueue, raw: Any, way: str
) -> None:
    limit(queue, max_running=1)
    submit(queue, "a", "b")
    (a,) = claim(work)
    assert claim(work) == []
    raw.delete("fpbus:doorbell:default")

    if way == "retry":
        work.finish([(a, Ended(RunState.FAILED, b"", retry_delay_s=60.0))])
    elif way == "release":
        work.release([a], started=False)
    else:
        let_lapse(raw)
        (lost,) = queue.lapsed()
        queue.settle(lost, None)

    assert raw.llen("fpbus:doorbell:default") >= 1
    assert names(claim(work)) == (["b"] if way == "retry" else ["a"])
    assert claim(work) == []


def test_a_lease_that_ran_out_counts_until_it_is_settled(queue: RunQueue, work: WorkQueue, raw: Any) -> None:
    limit(queue, max_running=1)
    submit(queue, "a", "b")
    claim(work)

    let_lapse(raw)

    assert claim(work) == []


def test_a_limit_by_key_holds_up_no_other_key(queue: RunQueue, work: WorkQueue) -> None:
    limit(queue, max_running_per_key=1)
    for run in ("x1", "x2", "x3", "y1", "y2", "none1", "none2"):
        submit(queue, run, key=run[0] if run[0] != "n" else None)

    first = claim(work)
    finish(work, first[1])

    assert names(first) == ["x1", "y1", "none1", "none2"]
    assert names(claim(work)) == ["y2"]
    finish(work, first[0])
    assert names(claim(work)) == ["x2"]


def test_limits_that_change_hold_for_what_waits(queue: RunQueue, work: WorkQueue, raw: Any) -> None:
    limit(queue, max_running=1)
    submit(queue, "a", "b", "c", "d")
    claim(work)

    limit(queue, max_running=3)
    assert names(claim(work)) == ["b", "c"]
    queue.put_limits({"add": PipelineLimits()})

    assert names(claim(work)) == ["d"]
    assert held_keys(raw) == []


def test_a_rate_delays_and_drops_nothing(queue: RunQueue, work: WorkQueue) -> None:
    limit(queue, rate="10/s")
    submit(queue, *[f"r{number:02}" for number in range(25)])

    at_once = names(claim(work, 100))
    then: list[str] = []
    while len(then) < 15:
        then += wait_for(lambda: names(claim(work, 100)), 10, "more")

    assert len(at_once) == 10
    assert at_once + then == [f"r{number:02}" for number in range(25)]


def test_what_was_claimed_too_early_gives_its_token_back(queue: RunQueue, work: WorkQueue) -> None:
    limit(queue, rate="1/h")
    submit(queue, "a")
    (a,) = claim(work)
    work.release([a], started=False)

    assert names(claim(work)) == ["a"]
    submit(queue, "b")
    assert claim(work) == []
