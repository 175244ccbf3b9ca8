"""The history with many runs: how fast the recorder writes them, and how long it takes to answer.

Recording is fold, upsert and counts in transactions of 500 results, as the recorder makes them. Beside it, in the same
process and as many to a transaction, the same rows go into a bare table: what SQLite can take at all. The rates of the
first and the last tenth tell whether it gets slower as the table grows. Prints one JSON row.

    python tests/bench/history.py [--runs 1000000] [--url postgresql://...]

With `--url` the history is in that database, which has to be empty; the bare table is in SQLite all the same.
"""

import argparse
import json
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sql

from fpbus.recorder import history
from fpbus.recorder.calls import HistoryCalls
from fpbus.recorder.database import Database
from fpbus.recorder.handlers import fold
from fpbus.schemas import ListRuns, Output, RunResult, RunState, Stats

BATCH: Final = 500
ASKED: Final = 7
START: Final = datetime(2026, 1, 1, tzinfo=UTC)
PIPELINES: Final = [f"pipeline_{number}" for number in range(50)]
KEYS: Final = [f"device-{number}" for number in range(2_000)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the history.")
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--url", help="an empty database, instead of a new SQLite file")
    arguments = parser.parse_args()
    most = arguments.runs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bare = _rates(_bare(folder), most // 10)
        database = Database(sql.make_url(arguments.url or f"sqlite:///{folder}/history.db"))
        database.open()
        rates = _rates(lambda batch: _record(database, batch), most)
        print(
            json.dumps(
                {
                    "runs": most,
                    "recorded_per_s": round(sum(rates) / len(rates)),
                    "first_tenth_per_s": round(rates[0]),
                    "last_tenth_per_s": round(rates[-1]),
                    "bare_inserts_per_s": round(sum(bare) / len(bare)),
                    "of_bare_inserts": round(sum(rates) / sum(bare), 2),
                    "answers_ms": _answers(HistoryCalls(database)),
                },
                indent=2,
            )
        )
        database.close()


def _results(first: int, count: int) -> list[RunResult]:
    dice = random.Random(first)
    return [_result(number, dice) for number in range(first, first + count)]


def _result(number: int, dice: random.Random) -> RunResult:
    accepted_at = START + timedelta(seconds=number * 10)
    started_at = accepted_at + timedelta(seconds=dice.random())
    return RunResult(
        run_id=f"run-{number:08}" if number % 100 else f"daily-{accepted_at:%Y%m%dT%H%M%SZ}-{number:012x}",
        pipeline=dice.choice(PIPELINES),
        state=dice.choices([RunState.SUCCEEDED, RunState.FAILED, RunState.DEAD], [950, 49, 1])[0],
        attempt=1,
        accepted_at=accepted_at,
        started_at=started_at,
        finished_at=started_at + timedelta(seconds=dice.lognormvariate(-3, 2)),
        runner="edge-1/1",
        key=dice.choice(KEYS),
        outputs={"alarm": Output(json=number), "level": Output(json=number / 7)},
    )


def _rates(write: Callable[[list[RunResult]], None], most: int) -> list[float]:
    """Return the results written per second in each tenth; making them is not counted."""
    rates: list[float] = []
    for tenth in range(10):
        spent = 0.0
        for first in range(most * tenth // 10, most * (tenth + 1) // 10, BATCH):
            batch = _results(first, BATCH)
            begun = time.perf_counter()
            write(batch)
            spent += time.perf_counter() - begun
        rates.append(most / 10 / spent)
    return rates


def _record(database: Database, batch: list[RunResult]) -> None:
    with database.write() as connection:
        known = history.find(connection, {result.run_id for result in batch})
        history.put(connection, fold(known, batch).rows, known)


def _bare(folder: Path) -> Callable[[list[RunResult]], None]:
    connection = sqlite3.connect(folder / "bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    names = history.runs.columns.keys()
    connection.execute(f"CREATE TABLE runs ({', '.join(names)}, PRIMARY KEY (run_id))")
    insert = f"INSERT INTO runs VALUES ({', '.join('?' * len(names))})"  # noqa: S608 (our own names)

    def write(batch: list[RunResult]) -> None:
        rows = [tuple(str(getattr(row, name, "")) for name in names) for row in fold({}, batch).rows]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(insert, rows)
        connection.execute("COMMIT")

    return write


def _answers(calls: HistoryCalls) -> dict[str, float]:
    """Return the median time of each question, in ms."""
    return {name: round(_median_ms(ask), 1) for name, ask in _questions(calls)}


def _questions(calls: HistoryCalls) -> Iterator[tuple[str, Callable[[], Any]]]:
    filters: dict[str, dict[str, Any]] = {
        "newest": {},
        "pipeline": {"pipeline": PIPELINES[7]},
        "state": {"state": RunState.FAILED},
        "rare state": {"state": RunState.DEAD},
        "pipeline and rare state": {"pipeline": PIPELINES[7], "state": RunState.DEAD},
        "key": {"key": KEYS[77]},
        "key and state": {"key": KEYS[77], "state": RunState.FAILED},
        "since and until": {"since": START + timedelta(days=10), "until": START + timedelta(days=11)},
        "schedule": {"schedule": "daily"},
        "a schedule without runs": {"schedule": "nightly"},
        "a page far behind": {"older_than": "run-00001001"},
    }
    for name, wanted in filters.items():
        yield f"list_runs: {name}", partial(calls.list_runs, ListRuns(**wanted))
    yield "stats", lambda: calls.stats(Stats())
    yield "stats: pipeline", lambda: calls.stats(Stats(pipeline=PIPELINES[7]))
    yield "stats: since, of the last days", lambda: calls.stats(Stats(since=START + timedelta(days=100, hours=7)))
    yield "stats: since, of nearly all", lambda: calls.stats(Stats(since=START + timedelta(days=1, hours=7)))


def _median_ms(ask: Callable[[], Any]) -> float:
    times: list[float] = []
    for _ in range(ASKED):
        begun = time.perf_counter()
        ask()
        times.append(time.perf_counter() - begun)
    return sorted(times)[ASKED // 2] * 1000


if __name__ == "__main__":
    main()
