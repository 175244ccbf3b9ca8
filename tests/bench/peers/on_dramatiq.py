"""dramatiq: one process with one thread, results kept, and a prefetch of 100, which is fifty times its default."""

import os
import sys
from importlib import import_module
from typing import Any

os.environ.setdefault("dramatiq_queue_prefetch", "100")
URL = os.environ["BENCH_REDIS_URL"]
WORKER = [sys.executable, "-m", "dramatiq", "bench.peers.on_dramatiq", "--processes", "1", "--threads", "1"]

dramatiq: Any = import_module("dramatiq")
backend: Any = import_module("dramatiq.results.backends").RedisBackend(url=URL)
broker: Any = import_module("dramatiq.brokers.redis").RedisBroker(url=URL)
broker.add_middleware(
    import_module("dramatiq.results").Results(backend=backend, store_results=True, result_ttl=3_600_000)
)
dramatiq.set_broker(broker)
_asked: list[str] = []


def _noop(number: int) -> int:
    return number


noop: Any = dramatiq.actor(_noop, actor_name="noop", max_retries=0)


def enqueue(number: int) -> None:
    _asked.append(backend.build_message_key(noop.send(number)))


def missing(_jobs: int) -> int:
    while _asked and backend.client.exists(_asked[0]):  # its keys are hashes, so they are looked up one by one
        _asked.pop(0)
    return len(_asked)


def ask(number: int) -> Any:
    return noop.send(number).get_result(backend=backend, block=True, timeout=10_000)
