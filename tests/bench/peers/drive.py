"""Measure the peer that the first argument names: a backlog worked off, and tasks one by one; figures as JSON."""

import contextlib
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Generator
from typing import Any, Final

IDLE_GAP_S: Final = 0.02
LOOK_EVERY_S: Final = 0.005
WARM: Final = 20


def main(name: str, jobs: int, idle: int) -> None:
    peer = importlib.import_module(f"bench.peers.{name}")
    began = time.perf_counter()
    for number in range(jobs):
        peer.enqueue(number)
    enqueued_per_s = jobs / (time.perf_counter() - began)
    with _worker(peer):
        per_s = _drained_per_s(peer, jobs)
        for number in range(WARM):
            peer.ask(number)
        milliseconds = sorted(_one_by_one(peer, idle))
    figures = {
        "per_s": per_s,
        "enqueue_per_s": enqueued_per_s,
        "idle_p50_ms": milliseconds[len(milliseconds) // 2],
        "idle_p99_ms": milliseconds[round(0.99 * (len(milliseconds) - 1))],
    }
    print(json.dumps(figures))


@contextlib.contextmanager
def _worker(peer: Any) -> Generator[None]:
    with subprocess.Popen(peer.WORKER, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ) as process:
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _drained_per_s(peer: Any, jobs: int) -> float:
    """Return how fast the worker works off a backlog. Its start and the first 5 % do not count."""
    left: int
    while (left := peer.missing(jobs)) > 0.95 * jobs:
        time.sleep(LOOK_EVERY_S)
    began = time.perf_counter()
    while peer.missing(jobs) > 0:
        time.sleep(LOOK_EVERY_S)
    return left / (time.perf_counter() - began)


def _one_by_one(peer: Any, count: int) -> Generator[float]:
    for number in range(count):
        time.sleep(IDLE_GAP_S)
        began = time.perf_counter()
        peer.ask(number)
        yield (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
