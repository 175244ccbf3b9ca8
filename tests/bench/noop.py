"""Tasks that do nothing, without MQTT: what a queue alone costs. Stock RQ, and Celery with late acknowledgement."""

import time
from collections.abc import Callable
from typing import Any, Final

from redis import Redis
from rq import Queue

from bench import rq_task
from bench.celery_noop import make_app
from bench.driver import IDLE_GAP_S
from bench.figures import Figures, percentile
from bench.place import Place

LOOK_EVERY_S: Final = 0.005
ANSWER_WITHIN_S: Final = 10.0


def measure_rq(place: Place, jobs: int, idle: int) -> Figures:
    redis = Redis.from_url(place.redis.url)
    queue = Queue(connection=redis)
    for number in range(jobs):
        queue.enqueue(rq_task.noop, number)
    worker = ("-m", "rq.cli", "worker", "--url", place.redis.url, "--quiet", "--worker-class", "rq.SimpleWorker")
    with place.child(*worker, "default", says_ready=False):
        per_s = _drained_per_s(lambda: jobs - len(queue.finished_job_registry.get_job_ids(cleanup=False)), jobs)
        return {"per_s": per_s} | _idle(
            lambda: queue.enqueue(rq_task.noop, 0).latest_result(timeout=int(ANSWER_WITHIN_S)), idle
        )


def measure_celery(place: Place, jobs: int, idle: int) -> Figures:
    redis: Any = Redis.from_url(place.redis.url)
    app = make_app(place.redis.url)
    for number in range(jobs):
        app.send_task("noop", (number,))
    worker = ("-m", "celery", "--app", "bench.celery_noop", "worker", "--pool", "prefork", "--concurrency", "1")
    lean = ("--loglevel", "ERROR", "--without-gossip", "--without-mingle", "--without-heartbeat")
    with place.child(*worker, *lean, says_ready=False):
        per_s = _drained_per_s(lambda: redis.llen("celery") + redis.hlen("unacked"), jobs)
        stored = sum(1 for _ in redis.scan_iter("celery-task-meta-*", count=5000))
        assert stored == jobs, f"Celery has stored {stored} results of {jobs}"
        figures = _idle(lambda: app.send_task("noop", (0,)).get(timeout=ANSWER_WITHIN_S), idle)
    app.close()
    return {"per_s": per_s} | figures


def _drained_per_s(remaining: Callable[[], int], jobs: int) -> float:
    """Return how fast a worker works off a backlog. Its start and the first 5 % do not count."""
    while (left := remaining()) > 0.95 * jobs:
        time.sleep(LOOK_EVERY_S)
    began = time.perf_counter()
    while remaining() > 0:
        time.sleep(LOOK_EVERY_S)
    return left / (time.perf_counter() - began)


def _idle(ask: Callable[[], Any], count: int) -> Figures:
    """Time one task after another, each on an idle worker."""
    milliseconds: list[float] = []
    for _ in range(count):
        time.sleep(IDLE_GAP_S)
        began = time.perf_counter()
        assert ask() is not None
        milliseconds.append((time.perf_counter() - began) * 1000)
    return {"idle_p50_ms": percentile(milliseconds, 50), "idle_p99_ms": percentile(milliseconds, 99)}
