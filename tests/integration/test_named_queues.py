"""Queues with names in a real Redis: who takes from which, what is listed, and what nobody serves."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis as redis_py

from fpbus.dispatcher.choosing import Chooser
from fpbus.dispatcher.pages import page_of
from fpbus.dispatcher.queue import RunQueue
from fpbus.runner.queue import WorkQueue
from fpbus.schemas import ChooseJobs, ListJobs
from fpbus.schemas.lanes import read_lanes
from fpbus.schemas.queue import QUEUES
from support.runs_in_redis import NOW, claim, let_lapse, names, submit
from support.servers import Redis
from support.servers import redis_server as make_redis


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    redis = make_redis(tmp_path_factory.mktemp("redis"))
    redis.start()
    yield redis
    redis.stop()


@pytest.fixture
def raw(redis_server: Redis) -> Iterator[Any]:
    client = redis_py.Redis(port=redis_server.port)
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
def serving(redis_server: Redis) -> Iterator[Callable[[str | None], WorkQueue]]:
    """Make the workers' side for some queues, or for all."""
    made: list[WorkQueue] = []

    def make(queues: str | None = None) -> WorkQueue:
        made.append(WorkQueue(redis_server.url, read_lanes(queues), 10.0))
        return made[-1]

    yield make
    for one in made:
        one.close()


Make = Callable[[str | None], WorkQueue]


def unheard(*_: object) -> None:
    """Hear what became of a run, and forget it."""


def listed(runs: RunQueue, **asked: Any) -> dict[str, str | None]:
    """Return why the runs are held that fit."""
    return {job.run_id: job.held for job in page_of(runs.jobs, ListJobs(**asked)).jobs}


def test_a_worker_takes_only_from_its_queues_by_priority_inside_each(queue: RunQueue, serving: Make) -> None:
    for run_id, lane in {"e": "gpu.low", "d": "gpu", "c": "gpu.high", "b": "default", "a": "io"}.items():
        submit(queue, run_id, on=lane)

    assert names(claim(serving("gpu"))) == ["c", "d", "e"]
    assert names(claim(serving("high,low"))) == []
    assert names(claim(serving("io,default"))) == ["a", "b"]


def test_whoever_serves_all_finds_a_new_queue_by_itself(queue: RunQueue, serving: Make) -> None:
    work = serving(None)
    assert not work.look_for_queues()
    submit(queue, "b", on="gpu")
    submit(queue, "a", on="default")

    assert work.look_for_queues()

    assert work.queues == [*QUEUES, "gpu.high", "gpu", "gpu.low"]
    assert names(claim(work)) == ["a", "b"]
    assert not work.look_for_queues()
    assert not serving("default").look_for_queues()


def test_what_is_due_or_was_lost_comes_back_to_its_own_queue(queue: RunQueue, serving: Make, raw: Any) -> None:
    work = serving("gpu")
    submit(queue, "later", on="gpu.low", not_before=NOW)
    submit(queue, "lost", on="gpu")
    claim(work)
    let_lapse(raw)

    for lost in queue.lapsed():
        queue.settle(lost, None)
    queue.promote()

    assert names(claim(work)) == ["lost", "later"]


def test_a_run_that_nobody_serves_says_so_until_somebody_does(queue: RunQueue, serving: Make, raw: Any) -> None:
    serving("default").register("w/1", 1)
    submit(queue, "g", on="gpu")
    submit(queue, "d", on="default")

    assert listed(queue) == {"g": "unserved", "d": None}
    assert {one.name: one.workers for one in queue.depths().queues} == {"high": 0, "default": 1, "low": 0, "gpu": 0}

    work = serving("gpu")
    work.register("w/2", 2)
    assert listed(queue) == {"g": None, "d": None}
    work.unregister("w/2")
    assert listed(queue) == {"g": "unserved", "d": None}
    serving(None).register("w/3", 3)
    assert listed(queue) == {"g": None, "d": None}
    assert {one.name: one.workers for one in queue.depths().queues} == {"high": 1, "default": 2, "low": 1, "gpu": 1}


def test_a_worker_that_fell_silent_serves_nothing_and_is_forgotten(queue: RunQueue, serving: Make, raw: Any) -> None:
    work = serving("gpu")
    work.register("w/1", 1)
    submit(queue, "g", on="gpu")
    raw.hset("fpbus:workers", "w/1", f"1 {raw.hget('fpbus:workers', 'w/1').decode().partition(' ')[2]}")

    assert listed(queue) == {"g": "unserved"}
    work.heartbeat(["w/1"], [])
    assert listed(queue) == {"g": None}

    raw.hset("fpbus:workers", "w/1", "1 gpu")
    work.register("w/2", 2)
    assert raw.hkeys("fpbus:workers") == [b"w/2"]


def test_listing_and_cancelling_know_named_queues(queue: RunQueue, serving: Make) -> None:
    serving(None).register("w/1", 1)
    submit(queue, "g", on="gpu")
    submit(queue, "h", on="gpu.high")
    submit(queue, "d", on="default")
    submit(queue, "later", on="gpu.low", not_before=NOW.replace(year=NOW.year + 1))

    def ignore(*_: object) -> None: ...

    chooser = Chooser(queue, ignore, ignore)

    assert listed(queue, queue="gpu").keys() == {"g", "h", "later"}
    assert list(listed(queue, queue="gpu.high", state="queued")) == ["h"]
    assert list(listed(queue, state="delayed")) == ["later"]
    assert chooser.step(ChooseJobs(queue="gpu"), delete=False).cancelled == 3
    assert chooser.step(ChooseJobs(every=True), delete=True)[:3] == (1, 0, 3)
    assert listed(queue) == {}


def test_the_server_of_the_tests_will_do(queue: RunQueue, serving: Make) -> None:
    queue.check_server()
    serving(None).check_server()
