"""Kills of a publisher and of its broker, and what must be true after them.

What was accepted is read from Redis, which nobody kills: without a runner every accepted run stays in its queue, in the
order of acceptance, once for each time that it was accepted.
"""

import random
import subprocess
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import redis

from support import edge_publisher
from support.servers import Broker
from support.waiting import wait_for

_DRAIN_S = 240.0


@dataclass(frozen=True)
class Figures:
    """What came of it. `unnoted` were accepted, but the publisher was killed before it could note them."""

    publisher_kills: int
    broker_kills: int
    noted: int
    accepted: int
    lost: int
    twice: int
    out_of_order: int
    unnoted: int
    seconds: float

    @property
    def promises_kept(self) -> bool:
        return self.lost == self.twice == self.out_of_order == 0 and self.accepted > 0


class Chaos:
    """A publisher in a process of its own, and a broker, killed by one random generator."""

    def __init__(self, folder: Path, broker: Broker, redis_url: str, seed: int) -> None:
        self._outbox = folder / "edge.db"
        self._journal = folder / "journal"
        self._broker = broker
        self._redis_url = redis_url
        self._random = random.Random(seed)
        self._life = 0
        self._publisher = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        self._life += 1
        arguments = [self._broker.url, str(self._outbox), str(self._journal), str(self._life)]
        return subprocess.Popen([sys.executable, edge_publisher.__file__, *arguments])

    def run(self, kills: int) -> Figures:
        """Kill so many times, let the rest be sent, and compare."""
        began = time.monotonic()
        killed = Counter(self._kill_one() for _ in range(kills))
        self._publisher.kill()
        self._publisher.wait()
        edge_publisher.drain(self._broker.url, str(self._outbox), _DRAIN_S)
        return self._compare(killed, time.monotonic() - began)

    def _kill_one(self) -> str:
        noted = len(self._notes()) + self._random.randrange(40)  # so many more, and then at any moment
        wait_for(lambda: len(self._notes()) >= noted, 30, "more messages")
        time.sleep(self._random.uniform(0, edge_publisher.PACE_S))
        if self._random.random() < 0.5:
            self._broker.kill()
            self._broker.start()
            return "broker"
        self._publisher.kill()
        self._publisher.wait()
        self._publisher = self._start()
        return "publisher"

    def _notes(self) -> list[str]:
        return self._journal.read_text().split() if self._journal.exists() else []

    def _compare(self, killed: Counter[str], seconds: float) -> Figures:
        accepted = self._accepted()
        noted = set(self._notes())
        return Figures(
            publisher_kills=killed["publisher"],
            broker_kills=killed["broker"],
            noted=len(noted),
            accepted=len(accepted),
            lost=len(noted - set(accepted)),
            twice=len(accepted) - len(set(accepted)),
            out_of_order=_out_of_order(accepted),
            unnoted=len(set(accepted) - noted),
            seconds=round(seconds, 1),
        )

    def _accepted(self) -> list[str]:
        with redis.Redis.from_url(self._redis_url, decode_responses=True) as server:
            (queue,) = server.scan_iter("rq:queue:*", count=1000)
            return [str(run_id) for run_id in server.lrange(queue, 0, -1)]

    def close(self) -> None:
        self._publisher.kill()
        self._publisher.wait()


def _out_of_order(accepted: list[str]) -> int:
    """Count the runs that were accepted before one of their key that was published earlier."""
    last: dict[str, tuple[int, int]] = defaultdict(lambda: (0, -1))
    wrong = 0
    for run_id in accepted:
        key, life, number = run_id.split("-")
        if key == "None":
            continue
        wrong += (int(life), int(number)) < last[key]
        last[key] = max(last[key], (int(life), int(number)))
    return wrong
