"""Huey: one process with one thread, results kept."""

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

CONSUMER = next(Path(sys.executable).parent.glob("huey_consumer*"))
WORKER = [str(CONSUMER), "bench.peers.on_huey.huey", "--workers", "1", "--worker-type", "thread", "--quiet"]

huey: Any = import_module("huey").RedisHuey("bench", url=os.environ["BENCH_REDIS_URL"], results=True, store_none=True)


def _noop(number: int) -> int:
    return number


noop: Any = huey.task(name="noop")(_noop)


def enqueue(number: int) -> None:
    noop(number)


def missing(jobs: int) -> int:
    stored: int = huey.storage.conn.hlen(huey.storage.result_key)
    return jobs - stored


def ask(number: int) -> Any:
    return noop(number).get(blocking=True, timeout=10, backoff=1, max_delay=0.001)
