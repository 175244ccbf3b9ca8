"""taskiq: a Redis stream, one worker process, results kept, a task acknowledged when it is done."""

import asyncio
import os
import sys
from importlib import import_module
from typing import Any

from redis import Redis

URL = os.environ["BENCH_REDIS_URL"]
WORKER = [sys.executable, "-m", "taskiq", "worker", "bench.peers.on_taskiq:broker", "--workers", "1"]
WORKER.extend(("--ack-type", "when_saved", "--log-level", "ERROR"))

_taskiq_redis: Any = import_module("taskiq_redis")
results: Any = _taskiq_redis.RedisAsyncResultBackend(redis_url=URL, result_ex_time=3600, prefix_str="result")
broker: Any = _taskiq_redis.RedisStreamBroker(url=URL).with_result_backend(results)
_redis: Any = Redis.from_url(URL)
_loop = asyncio.new_event_loop()
_started: list[bool] = []


async def _noop(number: int) -> int:
    return number


noop: Any = broker.task(task_name="noop")(_noop)


def _send(number: int) -> Any:
    if not _started:
        _loop.run_until_complete(broker.startup())
        _started.append(True)
    return _loop.run_until_complete(noop.kiq(number))


def enqueue(number: int) -> None:
    _send(number)


def missing(jobs: int) -> int:
    return jobs - sum(1 for _ in _redis.scan_iter("result:*", count=5000))


def ask(number: int) -> Any:
    return _loop.run_until_complete(_send(number).wait_result(check_interval=0.001, timeout=10)).return_value
