"""Looking at the runs in a real Redis, and cancelling and deleting many of them."""

import itertools
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis as redis_py

from fpbus.dispatcher.choosing import Chooser
from fpbus.dispatcher.pages import LOOK_MOST, page_of
from fpbus.dispatcher.queue import FencedError, RunQueue
from fpbus.runner.orders import Ended
from fpbus.runner.queue import WorkQueue
from fpbus.schemas import ChooseJobs, JobState, ListJobs, RunRequest, RunResult, RunState, decode
from fpbus.schemas.queue import QUEUES
from support.runs_in_redis import NOW, claim, finish, held_keys, ledger, names, submit
from support.servers import Redis
from support.servers import redis_server as make_redis


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
    ended = threading.Event()
    renewing = threading.Thread(target=lambda: _renew(made, ended))  # as a dispatcher does, however long a test takes
    renewing.start()
    yield made
    ended.set()
    renewing.join()
    made.close()


def _renew(queue: RunQueue, ended: threading.Event) -> None:
    while not ended.wait(1):
        queue.hold_lease()


@pytest.fixture
def work(redis_server: Redis) -> Iterator[WorkQueue]:
    made = WorkQueue(redis_server.url, QUEUES, 10.0)
    yield made
    made.close()


@pytest.fixture
def told() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def chooser(queue: RunQueue, told: list[tuple[str, str]]) -> Chooser:
    return Chooser(
        queue, lambda job, result: told.append((job.run_id, result.state)), lambda run: told.append((run, "marked"))
    )


def all_steps(chooser: Chooser, chosen: ChooseJobs, *, delete: bool = False) -> tuple[int, int, int]:
    """Take step by step until there is no cursor; return the sums."""
    sums = (0, 0, 0)
    for _ in range(1000):
        step = chooser.step(chosen, delete=delete)
        sums = (sums[0] + step.cancelled, sums[1] + step.marked, sums[2] + step.removed)
        if step.cursor is None:
            return sums
        chosen = ChooseJobs(
            **{name: getattr(chosen, name) for name in ("queue", "pipeline", "state", "every")}, cursor=step.cursor
        )
    raise AssertionError("it never ends")


# Looking.


def looked(runs: RunQueue, **asked: Any) -> list[str]:
    return [job.run_id for job in page_of(runs.jobs, ListJobs(**asked)).jobs]


def one_of_each(queue: RunQueue, work: WorkQueue, raw: Any) -> None:
    submit(queue, "succeeded", "failed", "dead", "cancelled", "started", "retrying")
    claims = {claim.run_id: claim for claim in claim(work)}
    for state in ("succeeded", "failed", "dead", "cancelled"):
        finish(work, claims[state], RunState(state))
    work.finish([(claims["retrying"], Ended(RunState.FAILED, b"", retry_delay_s=60.0))])
    submit(queue, "delayed", not_before=NOW + timedelta(hours=1))
    queue.pause("held", NOW)
    submit(queue, "paused", pipeline="held")
    submit(queue, "queued", on="high")


@pytest.mark.parametrize(
    ("state", "there"),
    [
        (None, ["started", "retrying", "delayed", "paused", "queued"]),
        ("queued", ["paused", "queued"]),
        *[(state, [state]) for state in ("delayed", "paused", "started", "retrying")],
        *[(state, [state]) for state in ("succeeded", "failed", "cancelled", "dead")],
    ],
)
def test_runs_are_listed_by_their_state(
    queue: RunQueue, work: WorkQueue, raw: Any, state: JobState | None, there: list[str]
) -> None:
    one_of_each(queue, work, raw)

    assert sorted(looked(queue, state=state)) == sorted(there)


def test_runs_are_listed_by_queue_and_pipeline_in_both_orders(queue: RunQueue) -> None:
    submit(queue, "a", "b", "c")
    submit(queue, "h", on="high")
    submit(queue, "s", pipeline="sub")

    assert looked(queue, state="queued", queue="default") == ["a", "b", "c", "s"]
    assert looked(queue, state="queued", queue="default", newest=True) == ["s", "c", "b", "a"]
    assert looked(queue, pipeline="sub") == ["s"]
    assert looked(queue, queue="high") == ["h"]


@pytest.mark.parametrize("newest", [False, True])
def test_pages_show_every_run_once(queue: RunQueue, newest: bool) -> None:  # noqa: FBT001
    for number, on in itertools.product(range(40), QUEUES):
        submit(queue, f"{on}{number}", on=on)
    seen: list[str] = []

    page = page_of(queue.jobs, ListJobs(state="queued", limit=7, newest=newest))
    while page.next_offset is not None:
        seen += [job.run_id for job in page.jobs]
        page = page_of(queue.jobs, ListJobs(state="queued", limit=7, newest=newest, offset=page.next_offset))
    seen += [job.run_id for job in page.jobs]

    assert page.total == len(seen) == len(set(seen)) == 120


def test_a_page_that_finds_little_stops_and_goes_on(queue: RunQueue) -> None:
    for start in range(0, LOOK_MOST + 500, 250):
        submit(queue, *[f"r{number}" for number in range(start, start + 250)])
    submit(queue, "rare", pipeline="sub")

    first = page_of(queue.jobs, ListJobs(pipeline="sub", state="queued"))
    second = page_of(queue.jobs, ListJobs(pipeline="sub", state="queued", offset=first.next_offset or 0))

    assert (first.jobs, first.next_offset) == ([], LOOK_MOST)
    assert ([job.run_id for job in second.jobs], second.next_offset) == (["rare"], None)


def test_one_run_is_shown_with_all_that_is_known(queue: RunQueue, work: WorkQueue) -> None:
    submit(queue, "r", key="boiler", not_before=NOW + timedelta(hours=1))
    submit(queue, "s")
    claim(work)

    delayed, started = queue.jobs.show("r"), queue.jobs.show("s")

    assert delayed is not None
    assert started is not None
    assert (delayed.state, delayed.queue, delayed.key, delayed.timeout_s) == ("delayed", "default", "boiler", 60)
    assert delayed.due_at == NOW + timedelta(hours=1)
    assert delayed.request == RunRequest(run_id="r", key="boiler")
    assert (started.state, started.attempt, started.worker) == ("started", 1, "w/1")
    assert started.started_at is not None
    assert queue.jobs.show("nobody") is None


# Many at once.


def test_all_that_has_not_ended_is_cancelled_wherever_it_is(
    queue: RunQueue, work: WorkQueue, raw: Any, chooser: Chooser, told: list[tuple[str, str]]
) -> None:
    one_of_each(queue, work, raw)

    cancelled, marked, removed = all_steps(chooser, ChooseJobs(every=True))

    assert (cancelled, marked, removed) == (4, 1, 0)
    gone = ("delayed", "retrying", "paused", "queued")
    assert sorted(told) == sorted([*((run, "cancelled") for run in gone), ("started", "marked")])
    assert {ledger(raw, run) for run in gone} == {"cancelled"}
    assert raw.zrange("fpbus:open", 0, -1) == [b"started"]
    assert raw.hget("rq:job:started", "cancel") == b"1"
    assert held_keys(raw) == []
    assert {decode(raw.hget("fpbus:outbox", run), RunResult).state for run in gone} == {"cancelled"}
    assert claim(work) == []


def test_many_of_one_pipeline_are_cancelled_among_others_and_workers_take_the_rest_in_order(
    queue: RunQueue, work: WorkQueue, raw: Any, chooser: Chooser, told: list[tuple[str, str]]
) -> None:
    for number in range(1500):
        submit(queue, f"a{number}", pipeline="add" if number % 3 else "sub")
    submit(queue, "h", pipeline="sub", on="high")

    sums = all_steps(chooser, ChooseJobs(pipeline="sub"))

    assert sums == (501, 0, 0)
    assert len({run for run, _ in told}) == len(told) == 501
    expected = [f"a{number}" for number in range(1500) if number % 3]
    assert [entry.decode() for entry in raw.lrange("rq:queue:default", 0, -1)] == expected
    assert all_steps(chooser, ChooseJobs(pipeline="sub")) == (0, 0, 0)


def test_what_workers_take_between_two_steps_is_met_as_started(
    queue: RunQueue, work: WorkQueue, raw: Any, chooser: Chooser
) -> None:
    for start in range(0, 2000, 250):
        submit(queue, *[f"r{number}" for number in range(start, start + 250)])

    first = chooser.step(ChooseJobs(every=True), delete=False)
    taken = claim(work, 16)
    rest = all_steps(chooser, ChooseJobs(every=True, cursor=first.cursor))

    assert first.cancelled + rest[0] == 2000 - 16
    assert rest[1] == 16
    assert {raw.hget(f"rq:job:{run}", "cancel") for run in names(taken)} == {b"1"}


def test_deleting_cancels_first_and_then_only_the_ledger_and_the_result_are_left(
    queue: RunQueue, work: WorkQueue, raw: Any, chooser: Chooser
) -> None:
    one_of_each(queue, work, raw)

    cancelled, marked, removed = all_steps(chooser, ChooseJobs(every=True), delete=True)

    assert (cancelled, marked, removed) == (4, 1, 4)
    assert raw.keys("rq:job:*") == [b"rq:job:started"]
    assert raw.hlen("fpbus:outbox") == 8
    assert len(raw.keys("fpbus:run:*")) == 9
    assert all_steps(chooser, ChooseJobs(state="cancelled"), delete=True)[2] == 0


def test_a_started_run_that_is_deleted_goes_when_it_has_ended(
    queue: RunQueue, work: WorkQueue, raw: Any, chooser: Chooser
) -> None:
    submit(queue, "r")
    (held,) = claim(work)

    assert chooser.one("r", delete=True) == (RunState.STARTED, "marked")
    finish(work, held, RunState.CANCELLED)

    assert raw.keys("rq:job:*") + raw.keys("rq:results:*") == []
    assert raw.hexists("fpbus:outbox", "r")
    assert chooser.one("r", delete=True) == (RunState.CANCELLED, "ended")
    assert chooser.one("nobody", delete=True) is None


def test_only_the_active_dispatcher_steers(queue: RunQueue, raw: Any) -> None:
    submit(queue, "r")
    raw.set("fpbus:dispatcher", "another")

    for act in (
        lambda: queue.pause("add", NOW),
        lambda: queue.put_limits({}),
        lambda: queue.remove(["r"]),
        lambda: queue.cancel_many([], "default", (-10, -1), delete=True),
    ):
        with pytest.raises(FencedError):
            act()
