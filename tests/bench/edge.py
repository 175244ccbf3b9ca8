"""`python tests/bench/edge.py`: what a durable `publish` of a device costs, beside a bare SQLite commit.

Both take turns, because a busy machine is not busy evenly.
"""

import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import msgspec

from fpbus.edge import Publisher

ROUNDS = 7
CALLS = 300


def per_second(act: Callable[[int], object]) -> float:
    began = time.perf_counter()
    for number in range(CALLS):
        act(number)
    return CALLS / (time.perf_counter() - began)


def main(folder: Path) -> None:
    bare = sqlite3.connect(folder / "bare.db", isolation_level=None)
    bare.execute("pragma locking_mode = exclusive")
    bare.execute("pragma journal_mode = wal")
    bare.execute("pragma synchronous = full")
    bare.execute("create table messages (seq integer primary key, payload blob)")

    def commit(number: int) -> None:
        body = {"run_id": f"device_{number:022}", "inputs": {"x": number}, "key": "k"}
        bare.execute("insert into messages (payload) values (?)", (msgspec.json.encode(body),))

    with Publisher("mqtt://127.0.0.1:1", outbox=folder / "edge.db") as publisher:
        rounds = [
            (per_second(commit), per_second(lambda number: publisher.publish("add", {"x": number}, key="k")))
            for _ in range(ROUNDS)
        ]
    bare.close()
    commits, publishes = (median(column) for column in zip(*rounds, strict=True))
    print(f"bare SQLite commits {commits:,.0f}/s, publish() {publishes:,.0f}/s: {publishes / commits:.0%}")


if __name__ == "__main__":
    with TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as made:
        main(Path(made))
