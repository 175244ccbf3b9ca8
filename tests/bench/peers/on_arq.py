"""arq: it looks for tasks every 10 ms, which is fifty times as often as by default; results kept."""

import asyncio
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from redis import Redis

URL = os.environ["BENCH_REDIS_URL"]
WORKER = [str(Path(sys.executable).parent / "arq"), "bench.peers.on_arq.WorkerSettings"]

_redis: Any = Redis.from_url(URL)
_loop = asyncio.new_event_loop()
_pool: list[Any] = []


async def noop(_context: Any, number: int) -> int:
    return number


class WorkerSettings:
    """What arq's command reads."""

    functions = (noop,)
    redis_settings = import_module("arq.connections").RedisSettings.from_dsn(URL)
    max_jobs = 10
    poll_delay = 0.01
    keep_result = 3600
    max_tries = 1


def _send(number: int) -> Any:
    if not _pool:
        _pool.append(_loop.run_until_complete(import_module("arq").create_pool(WorkerSettings.redis_settings)))
    return _loop.run_until_complete(_pool[0].enqueue_job("noop", number))


def enqueue(number: int) -> None:
    _send(number)


def missing(jobs: int) -> int:
    return jobs - sum(1 for _ in _redis.scan_iter("arq:result:*", count=5000))


def ask(number: int) -> Any:
    return _loop.run_until_complete(_send(number).result(timeout=10, poll_delay=0.001))
