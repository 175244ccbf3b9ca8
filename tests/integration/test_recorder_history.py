"""What both databases answer: pages, filters, sums, beside the same worked out by hand; and old histories made new."""

import math
import random
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
import sqlalchemy as sql
from msgspec.structs import replace

from fpbus.project import RunFiles
from fpbus.recorder import history
from fpbus.recorder.database import Database, metadata
from fpbus.recorder.handlers import RunRow
from fpbus.recorder.lease import Lease, LeaseLostError
from fpbus.recorder.retention import Retention
from fpbus.recorder.tallies import bucket_of, percentile, tallies
from fpbus.recorder.upgrade import upgrade
from fpbus.schemas import TERMINAL, FpbusError, ListRuns, PipelineStats, RunState

NOON: Final = datetime(2026, 11, 22, 12, tzinfo=UTC)
STATES: Final = ("succeeded", "succeeded", "succeeded", "failed", "dead", "cancelled", "queued", "started")
#: The table as it was before it had counts, requests and where a run came from.
OLD: Final = """
CREATE TABLE runs (run_id VARCHAR NOT NULL PRIMARY KEY, pipeline VARCHAR NOT NULL, state VARCHAR NOT NULL,
  attempt INTEGER NOT NULL, at TIMESTAMP NOT NULL, accepted_at TIMESTAMP, started_at TIMESTAMP, finished_at TIMESTAMP,
  duration_s DOUBLE PRECISION, runner TEXT, key TEXT, traceparent TEXT, outputs TEXT, error TEXT)
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(request.getfixturevalue("postgres_url") if request.param == "postgresql" else f"sqlite:///{tmp_path}/db")


@pytest.fixture
def empty(url: str) -> Iterator[sql.Connection]:
    engine = sql.create_engine(url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def connection(empty: sql.Connection) -> sql.Connection:
    metadata.create_all(empty)
    return empty


def a_row(number: int, dice: random.Random, state: str | None = None) -> RunRow:
    state = RunState(state or dice.choice(STATES))
    at = NOON + timedelta(seconds=dice.randrange(100_000))
    ran = state in TERMINAL and (state != RunState.CANCELLED or dice.random() < 0.5)
    started_at = at + timedelta(seconds=dice.random()) if ran else None
    return RunRow(
        run_id=f"run-{number:05}",
        pipeline=dice.choice(["orders", "boiler", "weather"]),
        state=state,
        attempt=1,
        at=at,
        accepted_at=at,
        started_at=started_at,
        finished_at=(started_at or at) + timedelta(seconds=dice.lognormvariate(-3, 2)) if state in TERMINAL else None,
        key=dice.choice([None, "a", "b"]),
    )


def put(connection: sql.Connection, rows: Sequence[RunRow]) -> None:
    history.put(connection, rows, history.find(connection, [row.run_id for row in rows]))


def by_hand(rows: Sequence[RunRow], pipeline: str) -> PipelineStats:
    mine = [row for row in rows if row.pipeline == pipeline]
    timed = sorted(row.duration_s for row in mine if row.state in TERMINAL and row.duration_s is not None)
    states = {state: sum(row.state == state for row in mine) for state in sorted({str(row.state) for row in mine})}
    failed = states.get("failed", 0) + states.get("dead", 0)
    return PipelineStats(
        pipeline=pipeline,
        runs=len(mine),
        states=states,
        failure_rate=failed / (failed + states.get("succeeded", 0)),
        mean_duration_s=sum(timed) / len(timed),
        p50_s=timed[math.ceil(0.50 * len(timed)) - 1],
        p95_s=timed[math.ceil(0.95 * len(timed)) - 1],
        p99_s=timed[math.ceil(0.99 * len(timed)) - 1],
        last_finished_at=max(row.finished_at for row in mine if row.finished_at),
    )


def assert_alike(found: PipelineStats, true: PipelineStats) -> None:
    for name in PipelineStats.__struct_fields__:
        mine, theirs = getattr(found, name), getattr(true, name)
        tolerance = 0.05 if name in {"p50_s", "p95_s", "p99_s"} else 1e-9
        if isinstance(theirs, float):
            assert mine == pytest.approx(theirs, rel=tolerance), name
        else:
            assert mine == theirs, name


@pytest.mark.parametrize("seed", range(5))
def test_sums_are_those_of_the_runs_however_they_were_recorded(connection: sql.Connection, seed: int) -> None:
    dice = random.Random(seed)
    rows = [a_row(number, dice) for number in range(2_000)]
    for start in range(0, len(rows), 300):
        batch = rows[start : start + 300]
        put(connection, [a_row(int(row.run_id[4:]), random.Random(1), "queued") for row in batch[::3]])
        put(connection, batch)
        put(connection, batch[::2])  # told again

    known = history.find(connection, [row.run_id for row in rows]).values()
    stats = history.stats(connection, None, None)

    assert [each.pipeline for each in stats] == ["boiler", "orders", "weather"]
    for each in stats:
        assert_alike(each, by_hand(list(known), each.pipeline))
    (orders,) = history.stats(connection, "orders", None)
    assert_alike(orders, stats[1])


def moved(row: RunRow, distance: timedelta) -> RunRow:
    times = {name: getattr(row, name) for name in ("at", "accepted_at", "started_at", "finished_at")}
    return replace(row, **{name: time and time + distance for name, time in times.items()})


def test_sums_since_an_hour_leave_out_what_ended_before(connection: sql.Connection) -> None:
    dice = random.Random(7)
    rows = [moved(a_row(number, dice, "succeeded"), timedelta(hours=dice.randrange(2_000))) for number in range(900)]
    put(connection, rows)
    begins = [NOON + timedelta(minutes=dice.randrange(100_000)) for _ in range(25)]
    begins += [datetime(*day, tzinfo=UTC) for day in ((1960, 1, 1), (2026, 12, 1), (2026, 12, 31), (2027, 1, 15))]

    for since in begins:
        (found,) = history.stats(connection, "orders", since)

        later = [row for row in rows if row.finished_at and row.finished_at >= since.replace(minute=0)]
        assert_alike(found, by_hand(later, "orders"))
    assert history.stats(connection, None, datetime(9999, 12, 31, 23, tzinfo=UTC)) == []


@pytest.mark.parametrize("duration_s", [1e-7, 1e-6, 0.0003, 0.05, 1.0, 59.9, 86_400.0])
def test_a_bucket_stands_for_its_durations(duration_s: float) -> None:
    assert percentile([(bucket_of(duration_s), 3)], 0.5) == pytest.approx(max(duration_s, 1e-6), rel=0.05)
    assert percentile([(bucket_of(None), 3)], 0.5) is None


def test_old_runs_are_forgotten_with_their_files_and_no_others(url: str, tmp_path: Path) -> None:
    database = Database(sql.make_url(url))
    database.open()
    dice = random.Random(5)
    rows = [a_row(number, dice) for number in range(700)]
    precious = tmp_path / "storage" / "precious"
    outputs = f'{{"table": {{"ref": "file://{precious}"}}}}'  # as somebody may have forged it
    stored = replace(rows[0], state=RunState.SUCCEEDED, at=NOON, finished_at=NOON, outputs=outputs)
    rows[0] = stored
    lease, files = Lease("recorder", "me"), RunFiles(f"file://{tmp_path}/storage")
    for run_id in (stored.run_id, "another"):
        (tmp_path / "storage" / stored.pipeline / run_id).mkdir(parents=True)
        (tmp_path / "storage" / stored.pipeline / run_id / "table.parquet").touch()
    precious.touch()
    with database.write() as connection:
        lease.acquire(connection, time.time())
        put(connection, rows)
    retention = Retention(database, lease, timedelta(days=1), files.remove)
    now = NOON + timedelta(days=1, seconds=50_000)

    while retention.sweep(now):
        pass

    kept = [row for row in rows if row.finished_at is None or row.finished_at >= now - timedelta(days=1)]
    with database.read() as connection:
        assert {run.run_id for run in history.list_runs(connection, ListRuns(limit=1000))} == {
            row.run_id for row in kept
        }
        for each in history.stats(connection, None, None):
            assert_alike(each, by_hand(kept, each.pipeline))
        assert connection.scalar(sql.select(sql.func.min(tallies.c.runs))) == 1
    assert 0 < len(kept) < len(rows)
    assert [path.name for path in (tmp_path / "storage" / stored.pipeline).iterdir()] == ["another"]
    assert precious.exists()
    assert Retention(database, Lease("recorder", "other"), timedelta(1), files.remove).sweep(now) == 0
    database.close()


@pytest.mark.parametrize("kept_s", [None, 20])
def test_only_the_newest_runs_are_kept_and_those_that_have_not_ended(
    url: str, tmp_path: Path, kept_s: int | None
) -> None:
    database = Database(sql.make_url(url))
    database.open()
    dice, lease = random.Random(6), Lease("recorder", "me")
    rows = [_ended_at(a_row(number, dice), NOON + timedelta(seconds=number)) for number in range(700)]
    with database.write() as connection:
        lease.acquire(connection, time.time())
        put(connection, rows)
    keep = None if kept_s is None else timedelta(seconds=kept_s)
    retention = Retention(database, lease, keep, RunFiles(f"file://{tmp_path}").remove, 100)

    while retention.sweep(NOON + timedelta(seconds=700)):
        pass

    first = 600 if kept_s is None else 700 - kept_s
    kept = [row for row in rows[:first] if row.finished_at is None] + rows[first:]
    with database.read() as connection:
        found = {run.run_id for run in history.list_runs(connection, ListRuns(limit=1000))}
    assert found == {row.run_id for row in kept}
    database.close()


def _ended_at(row: RunRow, at: datetime) -> RunRow:
    return replace(row, at=at, finished_at=None if row.finished_at is None else at)


def test_files_of_earlier_attempts_go_and_a_folder_that_stays_holds_up_no_other_run(url: str, tmp_path: Path) -> None:
    database = Database(sql.make_url(url))
    database.open()
    row = replace(a_row(0, random.Random(1), "succeeded"), finished_at=NOON, outputs=None)
    rows = [
        replace(row, run_id=f"r{number:03}", at=NOON + timedelta(seconds=number // 2), attempt=1)
        for number in range(450)
    ]
    rows[7] = replace(rows[7], attempt=2)  # its first attempt failed, and left a file
    rows[8] = replace(rows[8], state=RunState.FAILED)
    stuck = {f"r{number:03}" for number in (0, 1, 2, 199, 200)}
    rows = [replace(each, outputs='{"t": {"ref": "x"}}') if each.run_id in stuck else each for each in rows]
    lease = Lease("recorder", "me")
    removed: list[str] = []

    def remove(_pipeline: str, run_id: str) -> None:
        if run_id in stuck:
            raise FpbusError("It cannot be removed.")
        removed.append(run_id)

    with database.write() as connection:
        lease.acquire(connection, time.time())
        put(connection, rows)
    retention = Retention(database, lease, timedelta(days=1), remove)
    now = NOON + timedelta(days=2)

    assert [retention.sweep(now) for _ in range(3)] == [196, 199, 50]
    with database.read() as connection:
        assert {run.run_id for run in history.list_runs(connection, ListRuns(limit=1000))} == stuck
    assert removed == ["r007", "r008"]
    stuck = set()
    assert retention.sweep(now) == 5, "they have their turn again"
    database.close()


def test_whoever_lost_the_lease_forgets_nothing(url: str, tmp_path: Path) -> None:
    database = Database(sql.make_url(url))
    database.open()
    with database.write() as connection:
        Lease("recorder", "another").acquire(connection, time.time())
        put(connection, [a_row(1, random.Random(1), "succeeded")])

    with pytest.raises(LeaseLostError):
        Retention(database, Lease("recorder", "me"), timedelta(0), RunFiles(f"file://{tmp_path}").remove).sweep(
            NOON + timedelta(days=9)
        )

    with database.read() as connection:
        assert len(history.list_runs(connection, ListRuns())) == 1
    database.close()


def test_pages_follow_each_other_without_a_gap(connection: sql.Connection) -> None:
    dice = random.Random(3)
    put(connection, [a_row(number, dice) for number in range(300)])
    everything = [run.run_id for run in history.list_runs(connection, ListRuns(limit=1000))]

    pages: list[str] = []
    while page := history.list_runs(connection, ListRuns(limit=70, older_than=pages[-1] if pages else None)):
        pages += [run.run_id for run in page]
        put(connection, [a_row(1000 + len(pages), random.Random(9), "queued")])  # comes meanwhile

    assert [run_id for run_id in pages if run_id in everything] == everything
    with pytest.raises(LookupError):
        history.list_runs(connection, ListRuns(older_than="nobody"))


def test_runs_of_a_schedule_are_known_by_their_ids(connection: sql.Connection) -> None:
    dice = random.Random(3)
    due = ("20260329T010000Z-cbbb089c826c", "20260330T010000Z-0bbb089c8261")
    ids = [*(f"daily_sales-{each}" for each in due), f"daily-{due[0]}", "daily_sales-1", f"dailyXsales-{due[0]}"]
    put(connection, [replace(a_row(0, dice), run_id=run_id) for run_id in ids])

    found = history.list_runs(connection, ListRuns(schedule="daily.sales"))

    assert {run.run_id for run in found} == set(ids[:2])


def test_a_history_of_an_older_version_is_brought_up_to_date(empty: sql.Connection) -> None:
    connection = empty
    dice = random.Random(11)
    rows = [a_row(number, dice) for number in range(400)]
    connection.execute(sql.text(OLD))
    old = [column["name"] for column in sql.inspect(connection).get_columns("runs")]
    values = [{**{name: getattr(row, name, None) for name in old}, "duration_s": row.duration_s} for row in rows]
    connection.execute(sql.insert(history.runs), values)
    metadata.create_all(connection)

    upgrade(connection)
    upgrade(connection)  # a repeat changes nothing

    assert {column["name"] for column in sql.inspect(connection).get_columns("runs")} == set(history.runs.c.keys())
    assert {index["name"] for index in sql.inspect(connection).get_indexes("runs")} == {
        index.name for index in history.runs.indexes
    }
    for each in history.stats(connection, None, None):
        assert_alike(each, by_hand(rows, each.pipeline))
    more = a_row(500, dice, "succeeded")
    put(connection, [more])
    (found,) = history.stats(connection, more.pipeline, None)
    assert_alike(found, by_hand([*rows, more], more.pipeline))
    assert connection.execute(sql.select(sql.func.min(tallies.c.runs))).scalar_one() >= 0
