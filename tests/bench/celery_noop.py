"""The Celery application: one task that does nothing, acknowledged when it is done, its result kept in Redis."""

import os
from typing import Any

from celery import Celery  # pyright: ignore[reportMissingImports]  # installed by `make bench` only


def make_app(url: str) -> Any:
    made: Any = Celery("bench", broker=url, backend=url)
    made.conf.update(task_acks_late=True, broker_connection_retry_on_startup=True)
    made.task(name="noop")(_noop)
    return made


def _noop(number: int) -> int:
    return number


app = make_app(os.environ.get("BENCH_REDIS_URL", "redis://"))
