"""The dispatcher's side of Redis against a real one, with the runner's side as its counterpart, and RQ's own tools."""

import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import redis as redis_py
from hamilton import registry
from redis.exceptions import OutOfMemoryError, RedisError
from rq import Queue, SimpleWorker, serializers
from rq.exceptions import DeserializationError
from rq.job import Job
from rq.registry import FailedJobRegistry, FinishedJobRegistry, ScheduledJobRegistry
from rq.results import Result

from fpbus.dispatcher import queue as dispatcher_queue
from fpbus.dispatcher.handlers import cancelled_result, expired_result, lost_result
from fpbus.dispatcher.queue import FencedError, Lost, Outcome, RunQueue, Submission
from fpbus.project import make_project
from fpbus.runner.orders import Ended
from fpbus.runner.queue import Claim, WorkQueue
from fpbus.runner.rq_job import AllowListedJob
from fpbus.schemas import RunAccount, RunRequest, RunResult, RunState, decode, encode
from fpbus.schemas.queue import JOB_FUNCTION, QUEUES, ForeignJobError, RunJob, Serializer, job_data
from support.servers import Redis
from support.servers import redis_server as make_redis
from support.waiting import wait_for

NOW: Final = datetime.now(UTC)
SAME: Final = b"d" * 16
OTHER: Final = b"e" * 16
OURS: Final[Any] = Serializer  # RQ's hints want an instance, RQ takes a class as well


def a_job(
    run_id: str, on: str = "default", not_before: datetime | None = None, expires_at: datetime | None = None
) -> RunJob:
    return RunJob(
        run_id=run_id,
        pipeline="add",
        request=RunRequest(run_id=run_id, inputs={"x": 1}, expires_at=expires_at),
        accepted_at=NOW,
        timeout_s=60,
        dedup_window_s=3600,
        lost_attempts=3,
        queue=on,
        not_before=not_before,
    )


def a_result(job: RunJob, attempt: int = 1, state: RunState = RunState.SUCCEEDED) -> RunResult:
    return RunResult(
        run_id=job.run_id, pipeline=job.pipeline, state=state, attempt=attempt, accepted_at=NOW, finished_at=NOW
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
    made = RunQueue(redis_server.url, "token-1")
    assert made.hold_lease()
    yield made
    made.close()


@pytest.fixture
def standby(redis_server: Redis) -> Iterator[RunQueue]:
    made = RunQueue(redis_server.url, "token-2")
    yield made
    made.close()


@pytest.fixture
def work(redis_server: Redis) -> Iterator[WorkQueue]:
    made = WorkQueue(redis_server.url, QUEUES, 10.0)
    yield made
    made.close()


def submit(queue: RunQueue, *run_ids: str, digest: bytes = SAME, **options: Any) -> list[Outcome]:
    return queue.submit([Submission(a_job(run_id, **options), digest) for run_id in run_ids])


def deliver(queue: RunQueue, minted: str, packet_id: int, digest: bytes = SAME, *, again: bool = False) -> Outcome:
    """Submit a message whose publisher gave no run id."""
    (outcome,) = queue.submit([Submission(a_job(minted), digest, str(packet_id), again)])
    return outcome


def claim(work: WorkQueue, most: int = 16) -> list[Claim]:
    claims, refused = work.claim("w/1", most)
    assert refused == []
    return claims


def finish(work: WorkQueue, claim: Claim, state: RunState = RunState.SUCCEEDED) -> bool:
    result = encode(a_result(claim.job, claim.execution.attempt, state))
    (done,) = work.finish([(claim, Ended(state, result))])
    return done


def everything(raw: Any) -> dict[bytes, Any]:
    """Return what Redis holds, but for the lease."""
    return {key: raw.dump(key) for key in raw.scan_iter() if key != b"fpbus:dispatcher"}


def waiting(raw: Any, queue: str = "default") -> list[str]:
    return [entry.decode() for entry in raw.lrange(f"rq:queue:{queue}", 0, -1)]


def ledger(raw: Any, run_id: str) -> str | None:
    state = raw.hget(f"fpbus:run:{run_id}", "s")
    return state.decode() if state else None


def let_lapse(raw: Any) -> None:
    for execution in raw.zrange("fpbus:leases", 0, -1):
        raw.zadd("fpbus:leases", {execution: 1})


# Submit.


def test_a_new_run_is_queued_the_same_again_is_known_and_another_is_a_conflict(queue: RunQueue, raw: Any) -> None:
    (new,) = submit(queue, "r")
    before = everything(raw)
    (same,) = submit(queue, "r")
    (conflict,) = submit(queue, "r", digest=OTHER)

    assert [one.kind for one in (new, same, conflict)] == ["new", "same", "conflict"]
    assert {(one.run_id, one.state) for one in (new, same, conflict)} == {("r", RunState.QUEUED)}
    assert waiting(raw) == ["r"]
    assert everything(raw) == before


def test_a_repeat_hears_how_far_the_run_is(queue: RunQueue, work: WorkQueue) -> None:
    submit(queue, "r")
    (held,) = claim(work)
    (while_it_runs,) = submit(queue, "r")
    finish(work, held)
    (after,) = submit(queue, "r")

    assert (while_it_runs.kind, while_it_runs.state) == ("same", RunState.STARTED)
    assert (after.kind, after.state) == ("same", RunState.SUCCEEDED)


def test_one_script_makes_a_whole_batch_in_order(queue: RunQueue, raw: Any) -> None:
    names = [f"run-{number}" for number in range(256)]
    raw.config_resetstat()

    outcomes = submit(queue, *names)

    assert [one.run_id for one in outcomes] == names == waiting(raw)
    assert {one.kind for one in outcomes} == {"new"}
    assert raw.info("commandstats")["cmdstat_evalsha"]["calls"] <= 2  # once more when Redis did not know the script
    assert raw.zcard("fpbus:open") == 256
    assert raw.llen("fpbus:doorbell:default") == 1


def test_the_same_id_twice_in_one_batch_is_one_run(queue: RunQueue, raw: Any) -> None:
    outcomes = submit(queue, "r", "s", "r")

    assert [one.kind for one in outcomes] == ["new", "new", "same"]
    assert waiting(raw) == ["r", "s"]


def test_priorities_are_claimed_in_their_order(queue: RunQueue, work: WorkQueue) -> None:
    for name in ("low", "default", "high"):
        submit(queue, name, on=name)

    assert [one.run_id for one in claim(work)] == ["high", "default", "low"]


def test_an_expired_request_makes_no_run_but_one_that_is_there_is_still_known(queue: RunQueue, raw: Any) -> None:
    submit(queue, "there")

    outcomes = queue.submit([Submission(a_job(name), SAME, expired=True) for name in ("there", "late")])

    assert [one.kind for one in outcomes] == ["same", "expired"]
    assert waiting(raw) == ["there"]
    assert ledger(raw, "late") is None


# The lease.


def test_of_two_dispatchers_one_has_the_lease(queue: RunQueue, standby: RunQueue) -> None:
    assert not standby.hold_lease()
    assert queue.hold_lease()

    queue.release_lease()

    wait_for(standby.hold_lease, 1, "the lease of the standby")


def test_a_lease_runs_out(queue: RunQueue, standby: RunQueue, raw: Any) -> None:
    assert 0 < raw.pttl("fpbus:dispatcher") <= dispatcher_queue.LEASE_MS
    raw.delete("fpbus:dispatcher")  # as time does

    assert standby.hold_lease()
    assert not queue.hold_lease()


def test_the_heir_of_one_that_is_gone_need_not_wait(queue: RunQueue, standby: RunQueue) -> None:
    assert not standby.hold_lease(heir_of="somebody else")
    assert standby.hold_lease(heir_of=queue.token)
    with pytest.raises(FencedError):
        submit(queue, "r")


def test_one_without_the_lease_releases_nothing(queue: RunQueue, standby: RunQueue, raw: Any) -> None:
    standby.release_lease()

    assert raw.get("fpbus:dispatcher") == b"token-1"
    assert raw.pttl("fpbus:dispatcher") > 1


def test_submitting_keeps_the_lease(queue: RunQueue, raw: Any) -> None:
    raw.pexpire("fpbus:dispatcher", 500)

    submit(queue, "r")

    assert raw.pttl("fpbus:dispatcher") > 500


A_JOB: Final = a_job("r")
WRITES: Final[dict[str, Callable[[RunQueue, Lost], Any]]] = {
    "submit": lambda queue, _: submit(queue, "new"),
    "promote": lambda queue, _: queue.promote(),
    "settle": lambda queue, lost: queue.settle(lost, None),
    "settle dead": lambda queue, lost: queue.settle(lost, a_result(A_JOB, state=RunState.DEAD)),
    "cancel": lambda queue, _: queue.cancel(a_job("waits"), cancelled_result(a_job("waits"), 0, NOW)),
    "expire": lambda queue, _: queue.expire([(a_job("waits"), expired_result(a_job("waits"), 0, NOW))]),
    "unrecorded": lambda queue, _: queue.unrecorded(),
    "forget": lambda queue, _: queue.forget(["ended"]),
    "forget_deliveries": lambda queue, _: queue.forget_deliveries(),
}


def busy_redis(queue: RunQueue, work: WorkQueue, raw: Any) -> Lost:
    """Have one run of each kind: delayed and due, lapsed, ended and unrecorded, waiting, and a packet id."""
    submit(queue, "ended", "r")
    ended, _ = claim(work)
    finish(work, ended)
    raw.zadd("fpbus:outbox:due", {"ended": 1})
    let_lapse(raw)
    submit(queue, "waits")
    deliver(queue, "packet", 1)
    submit(queue, "due", not_before=NOW)
    (lost,) = queue.lapsed()
    return lost


@pytest.mark.parametrize("write", WRITES)
def test_whoever_lost_the_lease_writes_nothing(write: str, queue: RunQueue, work: WorkQueue, raw: Any) -> None:
    lost = busy_redis(queue, work, raw)
    raw.set("fpbus:dispatcher", "token-2")
    before = everything(raw)

    with pytest.raises(FencedError):
        WRITES[write](queue, lost)

    assert everything(raw) == before


@pytest.mark.parametrize("write", WRITES)
def test_whoever_has_the_lease_writes(write: str, queue: RunQueue, work: WorkQueue, raw: Any) -> None:
    lost = busy_redis(queue, work, raw)
    before = everything(raw)

    WRITES[write](queue, lost)

    assert everything(raw) != before


# Messages without a run id.


def test_a_redelivery_without_an_id_is_the_run_that_the_first_one_made(queue: RunQueue, raw: Any) -> None:
    first = deliver(queue, "first", 7)
    again = deliver(queue, "second", 7, again=True)

    assert (first.kind, first.run_id) == ("new", "first")
    assert (again.kind, again.run_id) == ("same", "first")
    assert waiting(raw) == ["first"]


def test_a_redelivery_of_another_message_is_a_run_of_its_own(queue: RunQueue) -> None:
    deliver(queue, "first", 7)

    other_payload = deliver(queue, "second", 7, OTHER, again=True)
    other_packet = deliver(queue, "third", 8, again=True)

    assert [one.kind for one in (other_payload, other_packet)] == ["new", "new"]


def test_a_first_delivery_takes_over_its_packet_id(queue: RunQueue) -> None:
    deliver(queue, "first", 7)
    fresh = deliver(queue, "second", 7)
    again = deliver(queue, "third", 7, again=True)

    assert (fresh.kind, again.kind, again.run_id) == ("new", "same", "second")


def test_a_new_session_forgets_packet_ids(queue: RunQueue) -> None:
    deliver(queue, "first", 7)

    queue.forget_deliveries()

    assert deliver(queue, "second", 7, again=True).kind == "new"


def test_a_redelivery_long_after_its_run_was_forgotten_is_a_new_run(queue: RunQueue, raw: Any) -> None:
    deliver(queue, "first", 7)
    raw.delete("fpbus:run:first")  # as its time to live does

    again = deliver(queue, "second", 7, again=True)

    assert (again.kind, again.run_id) == ("new", "second")


def test_the_memory_for_packet_ids_is_bounded_and_keeps_the_latest(queue: RunQueue, raw: Any) -> None:
    queue.remembered_deliveries = 8

    for packet_id in range(1, 21):
        deliver(queue, f"run-{packet_id}", packet_id)

    assert sorted(int(packet_id) for packet_id in raw.hkeys("fpbus:deliveries")) == list(range(13, 21))
    assert raw.llen("fpbus:deliveries:order") == 8
    assert deliver(queue, "other", 20, again=True).run_id == "run-20"


def test_a_broker_that_uses_few_packet_ids_pushes_none_out(queue: RunQueue, raw: Any) -> None:
    queue.remembered_deliveries = 8

    for number in range(40):
        deliver(queue, f"run-{number}", 1 + number % 2)

    assert deliver(queue, "other", 1, again=True).run_id == "run-38"
    assert deliver(queue, "other", 2, again=True).run_id == "run-39"
    assert raw.llen("fpbus:deliveries:order") == 2


# Delayed runs.


def test_a_delayed_run_waits_for_its_time(queue: RunQueue, work: WorkQueue, raw: Any) -> None:
    (outcome,) = submit(queue, "r", not_before=NOW + timedelta(hours=1))

    assert (outcome.state, queue.promote(), claim(work)) == (RunState.DELAYED, [], [])

    raw.zadd("rq:scheduled:default", {"r": 1})
    assert [job.run_id for job in queue.promote()] == ["r"]
    assert ledger(raw, "r") == "queued"
    assert [one.run_id for one in claim(work)] == ["r"]


def test_what_is_due_is_promoted_in_its_order_and_the_bell_rung(queue: RunQueue, raw: Any) -> None:
    for name, minutes in (("last", 1), ("first", 3), ("second", 2)):
        submit(queue, name, not_before=NOW - timedelta(minutes=minutes))

    assert [job.run_id for job in queue.promote()] == ["first", "second", "last"]
    assert waiting(raw) == ["first", "second", "last"]
    assert raw.llen("fpbus:doorbell:default") == 1


def test_a_run_that_is_to_be_tried_again_is_promoted_too(queue: RunQueue, work: WorkQueue, raw: Any) -> None:
    submit(queue, "r")
    (held,) = claim(work)
    work.finish([(held, Ended(RunState.FAILED, b"", retry_delay_s=0.0))])
    assert ledger(raw, "r") == "retrying"

    assert queue.promote() == [], "it was not delayed"
    assert [one.execution.attempt for one in claim(work)] == [2]


# Runs that expire.


@pytest.mark.parametrize("where", ["queued", "delayed", "held"])
def test_a_run_that_waits_too_long_is_ended_wherever_it_waits(queue: RunQueue, raw: Any, where: str) -> None:
    if where == "held":
        queue.pause("add", NOW)
    submit(queue, "r", not_before=NOW + timedelta(hours=1) if where == "delayed" else None, expires_at=NOW)
    submit(queue, "later", expires_at=NOW + timedelta(hours=1))

    ((job, attempt),) = queue.overdue()
    result = expired_result(job, attempt, NOW)

    assert queue.expire([(job, result)]) == [True]
    assert (ledger(raw, "r"), queue.overdue(), raw.zcard("fpbus:expiring")) == ("cancelled", [], 1)
    assert raw.hget("fpbus:outbox", "r") == encode(result)


def test_a_run_that_was_started_in_time_goes_on_and_is_looked_at_again(
    queue: RunQueue, work: WorkQueue, raw: Any
) -> None:
    submit(queue, "r", expires_at=NOW)
    claim(work)
    overdue = [(job, expired_result(job, attempt, NOW)) for job, attempt in queue.overdue()]

    assert queue.expire(overdue) == [False]
    assert (ledger(raw, "r"), queue.overdue()) == ("started", [])
    assert raw.zscore("fpbus:expiring", "r") > time.time() * 1000


def test_a_run_that_ends_expires_no_more(queue: RunQueue, work: WorkQueue, raw: Any) -> None:
    submit(queue, "r", expires_at=NOW + timedelta(hours=1))
    (claimed,) = claim(work)

    finish(work, claimed)

    assert raw.exists("fpbus:expiring") == 0


# Lost workers.


def test_a_lapsed_run_goes_to_the_front_of_its_queue_with_its_attempt_raised(
    queue: RunQueue, work: WorkQueue, raw: Any
) -> None:
    submit(queue, "lost", "next")
    claim(work, 1)
    assert queue.lapsed() == []
    let_lapse(raw)

    (lost,) = queue.lapsed()
    outcome = queue.settle(lost, None)

    assert (outcome, lost.lost_before, ledger(raw, "lost")) == ("queued", 0, "queued")
    assert waiting(raw) == ["lost", "next"]
    (again,) = claim(work, 1)
    assert (again.run_id, again.execution.attempt, again.lost_before) == ("lost", 2, 1)
    assert raw.zcard("rq:wip:default") == 1


def test_the_third_lost_attempt_is_the_end(queue: RunQueue, work: WorkQueue, raw: Any) -> None:
    submit(queue, "r")
    outcomes: list[str] = []
    for _ in range(3):
        claim(work)
        let_lapse(raw)
        (lost,) = queue.lapsed()
        outcomes.append(queue.settle(lost, lost_result(lost.job, lost.execution.attempt, lost.lost_before, NOW)))

    assert outcomes == ["queued", "queued", "dead"]
    assert ledger(raw, "r") == "dead"
    assert decode(raw.hget("fpbus:outbox", "r"), RunResult).attempt == 3
    assert (waiting(raw), raw.zcard("fpbus:leases"), raw.zcard("fpbus:open")) == ([], 0, 0)
    assert raw.hget("fpbus:counters", "lost_attempts") == b"3"


def test_what_a_lost_attempt_told_is_for_its_own_end_only(queue: RunQueue, work: WorkQueue, raw: Any) -> None:
    submit(queue, "r")
    (first,) = claim(work)
    work.lapse([first.execution], encode(RunAccount(dropped=1)))
    (told,) = queue.lapsed()
    queue.settle(told, None)
    claim(work)
    let_lapse(raw)
    (silent,) = queue.lapsed()
    work.lapse([first.execution], encode(RunAccount(dropped=2)))  # too late: it has no lease any more

    assert (told.account, silent.account) == (RunAccount(dropped=1), RunAccount())
    assert queue.lapsed() == [silent]
    dead = lost_result(told.job, 3, 2, NOW, told.account)
    assert dead is not None
    assert (dead.state, dead.dropped) == (RunState.DEAD, 1)


def test_a_worker_that_is_heard_after_all_keeps_its_run(queue: RunQueue, work: WorkQueue, raw: Any) -> None:
    submit(queue, "r")
    (held,) = claim(work)
    let_lapse(raw)
    (lost,) = queue.lapsed()

    work.heartbeat(["w/1"], [held.execution])

    assert queue.settle(lost, None) == "LATE"
    assert finish(work, held)


def test_the_result_of_a_superseded_attempt_is_discarded_and_counted(
    queue: RunQueue, work: WorkQueue, raw: Any
) -> None:
    submit(queue, "r")
    (first,) = claim(work)
    let_lapse(raw)
    queue.settle(queue.lapsed()[0], None)
    (second,) = claim(work)

    assert work.heartbeat(["w/1"], [first.execution])[0] == {str(first.execution)}
    assert not finish(work, first)
    assert finish(work, second)
    assert raw.hget("fpbus:counters", "superseded_results") == b"1"
    assert raw.hlen("fpbus:outbox") == 1


@pytest.mark.parametrize("data", [None, b"", b"\x80\x04K\x01.", Serializer.dumps(("os.system", None, ("true",), {}))])
def test_a_lease_of_a_job_that_is_none_of_ours_is_let_go(queue: RunQueue, raw: Any, data: bytes | None) -> None:
    if data is not None:
        raw.hset("rq:job:foreign", mapping={"data": data})
    raw.zadd("fpbus:leases", {"foreign:1.w": 1, "nonsense": 2})

    assert queue.lapsed() == []
    assert raw.zcard("fpbus:leases") == 0


# Cancel.


def cancel(queue: RunQueue, run_id: str) -> str:
    found = queue.find(run_id)
    assert found is not None
    _, job, attempt = found
    assert job is not None
    return queue.cancel(job, cancelled_result(job, attempt, NOW))


@pytest.mark.parametrize("not_before", [None, NOW + timedelta(hours=1)])
def test_a_run_that_waits_is_cancelled_at_once(
    queue: RunQueue, work: WorkQueue, raw: Any, not_before: datetime | None
) -> None:
    submit(queue, "r", not_before=not_before)

    assert cancel(queue, "r") == "cancelled"

    raw.zadd("rq:scheduled:default", {"r": 1}, xx=True)
    assert (queue.promote(), claim(work), ledger(raw, "r")) == ([], [], "cancelled")
    assert decode(raw.hget("fpbus:outbox", "r"), RunResult).state == RunState.CANCELLED
    assert cancel(queue, "r") == "ended"
    assert raw.hlen("fpbus:outbox") == 1


def test_a_run_that_runs_is_marked_for_its_worker(queue: RunQueue, work: WorkQueue, raw: Any) -> None:
    submit(queue, "r")
    (held,) = claim(work)

    assert cancel(queue, "r") == "marked"

    assert work.heartbeat(["w/1"], [held.execution])[1] == {str(held.execution)}
    assert ledger(raw, "r") == "started"


def test_the_mark_outlives_the_worker(queue: RunQueue, work: WorkQueue, raw: Any) -> None:
    submit(queue, "r")
    claim(work)
    cancel(queue, "r")
    let_lapse(raw)
    queue.settle(queue.lapsed()[0], None)

    assert [one.cancelled for one in claim(work)] == [True]


def test_a_run_that_has_ended_stays_as_it_is(queue: RunQueue, work: WorkQueue, raw: Any) -> None:
    submit(queue, "r")
    finish(work, claim(work)[0])
    before = everything(raw)

    assert cancel(queue, "r") == "ended"

    assert everything(raw) == before


def test_a_run_that_nobody_knows_is_not_found(queue: RunQueue) -> None:
    assert queue.find("nobody") is None


# The outbox and what is kept.


def test_a_result_without_a_receipt_is_published_again_after_five_seconds(
    queue: RunQueue, work: WorkQueue, raw: Any
) -> None:
    submit(queue, "r")
    finish(work, claim(work)[0])
    assert queue.unrecorded() == []
    published = raw.zscore("fpbus:outbox:due", "r")

    raw.zadd("fpbus:outbox:due", {"r": published - dispatcher_queue.REPUBLISH_AFTER_MS})
    (again,) = queue.unrecorded()

    assert decode(again, RunResult).run_id == "r"
    assert queue.unrecorded() == [], "it is as good as published now"


def test_a_receipt_empties_the_outbox_and_shortens_what_is_kept(queue: RunQueue, work: WorkQueue, raw: Any) -> None:
    submit(queue, "r", "other")
    for held in claim(work):
        finish(work, held)
    assert raw.ttl("rq:job:r") > dispatcher_queue.KEEP_RECORDED_S

    queue.forget(["r", "nobody"])

    assert raw.hkeys("fpbus:outbox") == [b"other"]
    assert raw.zrange("fpbus:outbox:due", 0, -1) == [b"other"]
    assert 0 < raw.ttl("rq:job:r") <= dispatcher_queue.KEEP_RECORDED_S
    assert 0 < raw.ttl("rq:results:r") <= dispatcher_queue.KEEP_RECORDED_S
    assert raw.ttl("rq:job:other") > dispatcher_queue.KEEP_RECORDED_S
    assert raw.zscore("rq:finished:default", "r") < raw.zscore("rq:finished:default", "other")
    assert raw.exists("rq:job:nobody", "fpbus:run:nobody") == 0


def test_the_ledger_keeps_a_run_for_the_window_from_its_end_on(queue: RunQueue, work: WorkQueue, raw: Any) -> None:
    submit(queue, "r")
    ttls = [raw.ttl("fpbus:run:r")]
    held = claim(work)[0]
    ttls.append(raw.ttl("fpbus:run:r"))

    finish(work, held)
    queue.forget(["r"])

    assert ttls == [-1, -1]
    assert 3590 < raw.ttl("fpbus:run:r") <= 3600
    assert submit(queue, "r")[0].kind == "same"


def test_registries_lose_what_has_had_its_time(queue: RunQueue, work: WorkQueue, raw: Any) -> None:
    submit(queue, "old", "young")
    for held in claim(work):
        finish(work, held)
    raw.zadd("rq:finished:default", {"old": 1})

    queue.promote()

    assert raw.zrange("rq:finished:default", 0, -1) == [b"young"]


def test_depths_tell_what_waits_what_runs_and_what_is_unrecorded(queue: RunQueue, work: WorkQueue) -> None:
    submit(queue, "a", "b", on="high")
    submit(queue, "c", not_before=NOW + timedelta(hours=1))
    claim(work, 1)
    submit(queue, "d", on="low")
    finish(work, claim(work, 1)[0])

    depths = queue.depths()

    assert {one.name: (one.queued, one.delayed) for one in depths.queues} == {
        "high": (0, 0),
        "default": (0, 1),
        "low": (1, 0),
    }
    assert (depths.running, depths.open, depths.unrecorded) == (1, 3, 1)


# Trouble in Redis.

KEYS: Final = {
    "rq:queues": "list",
    "rq:queue:default": "string",
    "rq:scheduled:default": "list",
    "fpbus:doorbell:default": "string",
    "fpbus:open": "list",
    "fpbus:deliveries": "string",
    "fpbus:deliveries:order": "string",
    "rq:job:r": "string",
    "fpbus:run:r": "string",
}


@pytest.mark.parametrize("key", KEYS)
def test_a_key_of_the_wrong_type_raises_before_anything_is_written(queue: RunQueue, raw: Any, key: str) -> None:
    if KEYS[key] == "string":
        raw.set(key, "not ours")
    else:
        raw.rpush(key, "not ours")
    before = everything(raw)

    with pytest.raises(RedisError):
        queue.submit([Submission(a_job("r"), SAME, packet="1")])

    assert everything(raw) == before
    raw.delete(key)
    assert submit(queue, "r")[0].kind == "new"


def fill(raw: Any) -> None:
    raw.config_set("maxmemory-policy", "noeviction")
    raw.config_set("maxmemory", 1)


def test_a_full_redis_takes_no_run_and_nothing_is_half_written(queue: RunQueue, raw: Any) -> None:
    submit(queue, "before")
    before = everything(raw)
    fill(raw)

    with pytest.raises(OutOfMemoryError):
        submit(queue, "a", "b")

    assert everything(raw) == before
    raw.config_set("maxmemory", 0)
    assert [one.kind for one in submit(queue, "a", "b", "before")] == ["new", "new", "same"]


def test_a_full_redis_still_finishes_and_forgets(queue: RunQueue, work: WorkQueue, raw: Any) -> None:
    submit(queue, "ends", "retries", "lost", "released", "cancelled")
    submit(queue, "due", not_before=NOW)
    fill(raw)

    ends, retries, lost, released = claim(work, 4)
    assert work.heartbeat(["w/1"], [ends.execution, lost.execution]) == (set(), set())
    assert finish(work, ends)
    assert work.finish([(retries, Ended(RunState.FAILED, b"", retry_delay_s=60))]) == [True]
    work.release([released], started=False)
    raw.config_set("maxmemory", 0)
    let_lapse(raw)
    fill(raw)
    assert queue.hold_lease()
    assert queue.settle(queue.lapsed()[0], None) == "queued"
    assert cancel(queue, "cancelled") == "cancelled"
    assert [job.run_id for job in queue.promote()] == ["due"]
    queue.forget_deliveries()
    assert queue.unrecorded() == []
    queue.forget(["ends", "cancelled"])

    assert waiting(raw) == ["lost", "released", "due"]
    assert queue.depths().unrecorded == 0


def test_a_foreign_job_is_set_aside_in_a_full_redis_too(work: WorkQueue, raw: Any) -> None:
    raw.hset("rq:job:evil", mapping={"data": b"cos\nsystem\n"})
    raw.rpush("rq:queue:default", "evil")
    fill(raw)

    claims, refused = work.claim("w/1", 16)

    assert (claims, len(refused)) == ([], 1)
    assert raw.zrange("rq:failed:default", 0, -1) == [b"evil"]


# RQ's own tools.


@pytest.fixture(scope="module")
def hamilton() -> None:
    """Load Hamilton's extensions: they import Dask, which pickles functions of its own while it loads."""
    registry.initialize()


@pytest.fixture
def no_pickle(hamilton: None, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Trip over everything that would read a pickle in this process."""
    trips: list[str] = []

    def trip(*_: Any, **__: Any) -> None:
        trips.append("pickle")
        raise AssertionError("something read a pickle")

    for name in ("loads", "load", "Unpickler"):
        monkeypatch.setattr(pickle, name, trip)
    monkeypatch.setattr(serializers.PickleSerializer, "loads", trip)  # it holds on to what pickle had
    return trips


def test_the_tripwire_works(queue: RunQueue, raw: Any, no_pickle: list[str]) -> None:
    submit(queue, "r")

    with pytest.raises(DeserializationError):
        _ = Job.fetch("r", connection=raw).args

    assert no_pickle == ["pickle"]


def test_rq_reads_our_jobs_where_they_are(queue: RunQueue, work: WorkQueue, raw: Any, no_pickle: list[str]) -> None:
    submit(queue, "runs", "fails", "ends", "waits")
    submit(queue, "later", not_before=NOW + timedelta(hours=1))
    _, fails, ends = claim(work, 3)
    finish(work, ends)
    finish(work, fails, RunState.FAILED)

    theirs = Queue("default", connection=raw, serializer=OURS)
    job = Job.fetch("waits", connection=raw, serializer=OURS)
    done = Job.fetch("ends", connection=raw, serializer=OURS)

    assert theirs.get_job_ids() == ["waits"]
    assert [one.id for one in theirs.get_jobs()] == ["waits"]
    assert (job.func_name, job.get_status(), job.origin) == (JOB_FUNCTION, "queued", "default")
    assert job.args[0]["run_id"] == "waits"
    assert job.timeout == 60
    assert theirs.started_job_registry.get_job_ids() == ["runs"]
    registries = (FinishedJobRegistry, FailedJobRegistry, ScheduledJobRegistry)
    assert [kind(queue=theirs).get_job_ids() for kind in registries] == [["ends"], ["fails"], ["later"]]
    latest = done.latest_result()
    assert latest is not None
    assert latest.type == Result.Type.SUCCESSFUL
    assert decode(str(latest.return_value).encode(), RunResult).run_id == "ends"
    assert no_pickle == []


def test_counting_rqs_registries_moves_nothing(queue: RunQueue, work: WorkQueue, raw: Any) -> None:
    submit(queue, "r")
    claim(work)
    let_lapse(raw)
    theirs = Queue("default", connection=raw, serializer=OURS)

    assert theirs.started_job_registry.count == 1
    theirs.started_job_registry.cleanup()

    assert theirs.started_job_registry.get_job_ids() == ["r"]
    assert [one.execution.run_id for one in queue.lapsed()] == ["r"]


SERIALIZER: Final = "fpbus.schemas.queue.Serializer"


def test_rq_info_shows_true_queues_and_workers(queue: RunQueue, work: WorkQueue, redis_server: Redis, raw: Any) -> None:
    work.register("w/1", 4711)
    submit(queue, "a", "b", "c")
    submit(queue, "d", on="high")
    claim(work, 2)

    shown = subprocess.run(
        [str(Path(sys.executable).with_name("rq")), "info", "--raw", "-u", redis_server.url, "-S", SERIALIZER],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout

    assert "queue high 0, 1 executing" in shown
    assert "queue default 2, 1 executing" in shown
    assert "4711) busy high, default, low" in shown


ADD_PY: Final = "def answer(x: int) -> int:\n    return x + 1\n"


def test_a_stock_rq_worker_runs_our_job_and_its_result_can_be_read(
    queue: RunQueue, raw: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_pickle: list[str]
) -> None:
    make_project(tmp_path, "stock")
    (tmp_path / "pipelines" / "add.py").write_text(ADD_PY)
    (tmp_path / "conf" / "pipelines" / "add.yml").write_text("run: {}\n")
    monkeypatch.setenv("FPBUS_PROJECT", str(tmp_path))
    submit(queue, "r")
    theirs = Queue("default", connection=raw, serializer=OURS)

    worker = SimpleWorker([theirs], connection=raw, serializer=OURS, job_class=AllowListedJob)
    worker.work(burst=True)

    job = Job.fetch("r", connection=raw, serializer=OURS)
    assert (job.get_status(), job.return_value()) == ("finished", {"answer": 2})
    assert no_pickle == []


@pytest.mark.parametrize(
    ("function", "callbacks"),
    [
        ("os.system", {}),
        ("fpbus.runner.serve", {}),
        (JOB_FUNCTION, {"success_callback_name": "os.system"}),
        (JOB_FUNCTION, {"failure_callback_name": "os.system"}),
        (JOB_FUNCTION, {"stopped_callback_name": "os.system"}),
    ],
)
def test_the_allow_list_refuses_other_functions_and_callbacks(
    queue: RunQueue, raw: Any, function: str, callbacks: dict[str, str]
) -> None:
    submit(queue, "r")
    raw.hset("rq:job:r", mapping={"data": Serializer.dumps((function, None, ({},), {})), **callbacks})
    job = AllowListedJob.fetch("r", connection=raw, serializer=OURS)

    with pytest.raises(ForeignJobError):
        _ = (job.func, job.success_callback, job.failure_callback, job.stopped_callback)


def test_our_own_path_reads_no_pickle(queue: RunQueue, work: WorkQueue, raw: Any, no_pickle: list[str]) -> None:
    lost = busy_redis(queue, work, raw)
    raw.hset("rq:job:waits", "meta", b"cos\nsystem\n(S'true'\ntR.")

    for write in WRITES.values():
        write(queue, lost)
    for held in claim(work):
        finish(work, held)
    queue.depths()

    assert no_pickle == []


def test_the_job_in_redis_is_the_job_that_was_submitted(queue: RunQueue, raw: Any) -> None:
    submit(queue, "r")

    data = raw.hget("rq:job:r", "data")

    assert data == Serializer.dumps(job_data(a_job("r")))
    assert not any(value for name, value in raw.hgetall("rq:job:r").items() if b"callback" in name or name == b"meta")
