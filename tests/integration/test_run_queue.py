"""The runner's side of Redis against a real one: what claims, hand-backs and receipts do when something is amiss.

The dispatcher's side, and both together when all goes well, are in `test_dispatcher_queue.py`.
"""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import pytest
import redis as redis_py
from redis.exceptions import OutOfMemoryError

from fpbus.dispatcher.queue import RunQueue, Submission
from fpbus.runner.orders import Ended
from fpbus.runner.queue import Claim, WorkQueue
from fpbus.schemas import RunRequest, RunResult, RunState, encode
from fpbus.schemas.queue import QUEUES, RunJob, Serializer, job_data
from support.servers import Redis
from support.servers import redis_server as make_redis

NOW: Final = datetime.now(UTC)
MARGIN_BYTES: Final = 300_000


def a_job(run_id: str, size: int = 0) -> RunJob:
    return RunJob(
        run_id=run_id,
        pipeline="add",
        request=RunRequest(run_id=run_id, inputs={"x": "x" * size}),
        accepted_at=NOW,
        timeout_s=60,
        dedup_window_s=3600,
        lost_attempts=3,
    )


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """One server for all tests of this file; `raw` empties it before each."""
    redis = make_redis(tmp_path_factory.mktemp("redis"))
    redis.start()
    yield redis
    redis.stop()


@pytest.fixture
def raw(redis_server: Redis) -> Iterator[Any]:
    """Redis as it is, for arranging and for looking."""
    client = redis_py.Redis(port=redis_server.port)
    client.config_set("maxmemory", 0)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def queue(redis_server: Redis, raw: Any) -> Iterator[RunQueue]:
    """The queue of the active dispatcher."""
    made = RunQueue(redis_server.url, "token")
    assert made.hold_lease()
    yield made
    made.close()


@pytest.fixture
def work(redis_server: Redis) -> Iterator[WorkQueue]:
    made = WorkQueue(redis_server.url, QUEUES, 10.0)
    yield made
    made.close()


def submit(queue: RunQueue, *run_ids: str, size: int = 0) -> None:
    queue.submit([Submission(a_job(run_id, size), b"d" * 16) for run_id in run_ids])


def claim(work: WorkQueue, most: int = 16) -> list[Claim]:
    claims, refused = work.claim("w/1", most)
    assert refused == []
    return claims


def success(claim: Claim) -> tuple[Claim, Ended]:
    job, attempt = claim.job, claim.execution.attempt
    state = RunState.SUCCEEDED
    result = RunResult(
        run_id=job.run_id, pipeline=job.pipeline, state=state, attempt=attempt, accepted_at=NOW, finished_at=NOW
    )
    return claim, Ended(state, encode(result))


def waiting(raw: Any) -> list[str]:
    return [entry.decode() for entry in raw.lrange("rq:queue:default", 0, -1)]


# Handing back.


def test_what_is_handed_back_stands_in_the_queue_as_it_did(queue: RunQueue, work: WorkQueue, raw: Any) -> None:
    submit(queue, "a", "b", "c", "d")
    first, *rest = claim(work, 3)

    work.release(rest, started=False)

    assert waiting(raw) == ["b", "c", "d"]
    assert raw.zrange("fpbus:leases", 0, -1) == raw.zrange("rq:wip:default", 0, -1) == [str(first.execution).encode()]
    assert raw.hget("fpbus:run:b", "s") == b"queued"


@pytest.mark.parametrize(("started", "next_attempt"), [(False, 1), (True, 2)])
def test_an_attempt_counts_once_it_was_started(
    queue: RunQueue,
    work: WorkQueue,
    started: bool,  # noqa: FBT001
    next_attempt: int,
) -> None:
    submit(queue, "r")
    work.release(claim(work), started=started)

    (again,) = claim(work)

    assert (again.execution.attempt, again.lost_before) == (next_attempt, 0)


def test_a_superseded_attempt_is_not_handed_back(queue: RunQueue, work: WorkQueue, raw: Any) -> None:
    submit(queue, "r")
    held = claim(work)
    work.lapse([held[0].execution])
    queue.settle(queue.lapsed()[0], None)

    work.release(held, started=False)

    assert waiting(raw) == ["r"]
    assert raw.hget("rq:job:r", "attempt") == b"1"


# Ending several at once.


def test_of_many_endings_only_the_superseded_one_is_discarded(queue: RunQueue, work: WorkQueue, raw: Any) -> None:
    submit(queue, "a", "b", "c")
    held = claim(work)
    work.lapse([held[1].execution])
    queue.settle(queue.lapsed()[0], None)

    done = work.finish([success(one) for one in held])

    assert done == [True, False, True]
    assert sorted(raw.hkeys("fpbus:outbox")) == [b"a", b"c"]
    assert waiting(raw) == ["b"]


def test_endings_survive_a_redis_that_has_forgotten_its_scripts(queue: RunQueue, work: WorkQueue, raw: Any) -> None:
    submit(queue, "a", "b", "c")
    *two, one = [success(held) for held in claim(work)]

    raw.script_flush()
    assert work.finish(two) == [True, True]
    raw.script_flush()
    assert work.finish([one]) == [True]

    assert raw.zcard("fpbus:open") == 0


# What a worker leaves behind.


def test_a_worker_that_begins_again_gives_up_what_it_had(queue: RunQueue, work: WorkQueue, raw: Any) -> None:
    submit(queue, "mine", "another")
    claim(work, 1)
    (others,), _ = work.claim("w/11", 1)

    assert work.lapse_of("w/1") == 1
    assert [lost.execution.run_id for lost in queue.lapsed()] == ["mine"]
    assert work.heartbeat(["w/11"], [others.execution]) == (set(), set())


@pytest.mark.parametrize("lease", [b"nonsense", b"r:x.w/1", b"r:1:2.w/1", b"\xff:1.w/1"])
def test_a_crafted_lease_keeps_no_worker_from_beginning(work: WorkQueue, raw: Any, lease: bytes) -> None:
    raw.zadd("fpbus:leases", {lease: 1})

    assert work.lapse_of("w/1") == 0


# Jobs that are none of ours.


def crafted(**fields: Any) -> dict[str, Any]:
    return {"data": Serializer.dumps(job_data(a_job("crafted")))} | fields


@pytest.mark.parametrize(
    ("run_id", "fields"),
    [
        (b"with:colon", crafted()),
        (b"crafted:1.w", crafted()),
        (b"not-utf8-\xff", crafted()),
        (b"other", crafted()),
        (b"crafted", crafted(lost="many")),
        (b"crafted", crafted(data=b"cos\nsystem\n(S'true'\ntR.")),
        (b"crafted", crafted(failure_callback_name="os.system")),
        (b"crafted", crafted(data=Serializer.dumps(("os.system", None, ("true",), {})))),
        (b"crafted", crafted(data=b"\x94" + b"\x91" * 5000)),
    ],
)
def test_a_job_that_is_none_of_ours_is_set_aside_and_its_neighbours_run(
    queue: RunQueue, work: WorkQueue, raw: Any, run_id: bytes, fields: dict[str, Any]
) -> None:
    raw.hset(b"rq:job:" + run_id, mapping=fields)
    raw.rpush("rq:queue:default", run_id)
    submit(queue, "good")

    claims, refused = work.claim("w/1", 16)

    assert [one.run_id for one in claims] == ["good"]
    assert len(refused) == 1
    assert raw.zrange("rq:failed:default", 0, -1) == [run_id]
    assert raw.zcard("fpbus:leases") == raw.zcard("rq:wip:default") == 1
    assert raw.hget("fpbus:counters", "foreign_jobs") == b"1"


def test_a_queued_id_without_a_job_is_passed_over_and_counted(queue: RunQueue, work: WorkQueue, raw: Any) -> None:
    raw.rpush("rq:queue:default", "nobody")
    submit(queue, "good")

    assert [one.run_id for one in claim(work)] == ["good"]
    assert raw.hget("fpbus:counters", "jobs_without_hash") == b"1"


# Receipts.


def test_keys_of_other_kinds_keep_no_worker_from_its_work(queue: RunQueue, work: WorkQueue, raw: Any) -> None:
    submit(queue, "first", "second")
    raw.delete("rq:job:first")
    raw.set("rq:job:first", "no hash")
    raw.set("rq:queue:high", "no list")

    assert [one.run_id for one in claim(work)] == ["second"]
    assert raw.hget("fpbus:counters", "jobs_without_hash") == b"1"


@pytest.mark.parametrize("claimed", [False, True])
def test_a_receipt_for_a_run_that_has_not_ended_leaves_it_its_job(
    queue: RunQueue,
    work: WorkQueue,
    raw: Any,
    claimed: bool,  # noqa: FBT001
) -> None:
    submit(queue, "r")
    if claimed:
        claim(work)

    queue.forget(["r"])

    assert raw.ttl("rq:job:r") == -1


def test_a_receipt_that_comes_when_the_job_is_gone_empties_the_outbox_all_the_same(
    queue: RunQueue, work: WorkQueue, raw: Any
) -> None:
    submit(queue, "r", "s")
    work.finish([success(held) for held in claim(work)])
    raw.delete("rq:job:r")  # as its time to live does

    queue.forget(["r", "s"])

    assert raw.exists("fpbus:outbox", "fpbus:outbox:due", "rq:job:r") == 0


# Memory that runs out on the way.


def submit_until_full(queue: RunQueue) -> int:
    """Submit batches of 32 until Redis refuses one; return how many runs were taken before."""
    taken = 0
    with suppress(OutOfMemoryError):
        while True:
            submit(queue, *(f"r-{taken + number}" for number in range(32)), size=1000)
            taken += 32
    return taken


def test_a_redis_that_fills_up_takes_batches_whole_or_not_at_all(queue: RunQueue, raw: Any) -> None:
    raw.config_set("maxmemory-policy", "noeviction")
    raw.config_set("maxmemory", raw.info("memory")["used_memory"] + MARGIN_BYTES)

    taken = submit_until_full(queue)

    assert 0 < taken < 32 * MARGIN_BYTES // 1000
    assert len(waiting(raw)) == raw.zcard("fpbus:open") == taken
    assert len(list(raw.scan_iter("rq:job:*"))) == len(list(raw.scan_iter("fpbus:run:*"))) == taken


def test_a_full_redis_gets_room_by_working_off_what_it_has(queue: RunQueue, work: WorkQueue, raw: Any) -> None:
    submit(queue, "a", "b")
    raw.config_set("maxmemory-policy", "noeviction")
    raw.config_set("maxmemory", 1)
    with pytest.raises(OutOfMemoryError):
        submit(queue, "refused")

    held = claim(work)
    work.heartbeat(["w/1"], [one.execution for one in held])
    assert work.finish([success(one) for one in held]) == [True, True]
    queue.forget(["a", "b"])

    assert raw.exists("fpbus:outbox", "fpbus:open", "fpbus:leases") == 0


def test_a_runner_can_begin_while_redis_is_full(queue: RunQueue, work: WorkQueue, raw: Any) -> None:
    submit(queue, "left-over")
    claim(work)
    raw.config_set("maxmemory-policy", "noeviction")
    raw.config_set("maxmemory", 1)

    work.lapse_of("w/1")
    work.register("w/1", 4711)

    assert [queue.settle(lost, None) for lost in queue.lapsed()] == ["queued"]
    assert work.finish([success(one) for one in claim(work)]) == [True]
    assert raw.hget("rq:worker:w/1", "pid") == b"4711"
    assert raw.smembers("rq:workers:low") == raw.smembers("rq:workers") == {b"rq:worker:w/1"}
    assert 60 < raw.ttl("rq:worker:w/1") <= 70
