"""100,000 schedules: how long until they are timed, in how much memory, and how late are those that are due.

Beside fpbus stands APScheduler with its own stores, each job a function that notes when it was called; fpbus is asked
for more: a message that has crossed the broker. A hundred schedules are due in each of twenty seconds; the others
are due on some minute of some day. Prints one JSON row per variant.

    python tests/bench/schedules.py [--schedules 100000] [--only fpbus|sqlalchemy|redis]
"""

import argparse
import json
import os
import pickle
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil
import sqlalchemy as sql
from apscheduler.job import Job
from apscheduler.jobstores.redis import RedisJobStore
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger

sys.path[0] = str(Path(__file__).parents[1])  # `bench` and `support` are found where pytest finds them

from bench.figures import percentile  # noqa: E402
from fpbus.bus import Inbox, open_bus  # noqa: E402
from fpbus.lifecycle import Settings  # noqa: E402
from fpbus.scheduler import serve  # noqa: E402
from fpbus.scheduler.database import Database, schedules_url  # noqa: E402
from fpbus.scheduler.handlers import run_id_of  # noqa: E402
from fpbus.scheduler.store import Store  # noqa: E402
from fpbus.schemas import RunRequest, RunState, RunStatus, decode, topics  # noqa: E402
from fpbus.schemas.schedules import ScheduleSpec  # noqa: E402
from support.servers import mosquitto, redis_server  # noqa: E402

DUE_PER_S: Final = 100
SECONDS: Final = 20
PIPELINES: Final = 100
#: From filling a store until the first is due; a scheduler that is not ready by then is late with all it missed.
WARM_UP_S: Final = {"fpbus": 45, "sqlalchemy": 60, "redis": 60}

Figures = dict[str, float | int | str]


def main() -> None:
    parser = argparse.ArgumentParser(description="Time many schedules.")
    parser.add_argument("--schedules", type=int, default=100_000)
    parser.add_argument("--only", choices=list(WARM_UP_S))
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        _CHILDREN[arguments.child[0]](arguments.child[1])
        return
    measures = {"fpbus": measure_fpbus, "sqlalchemy": measure_sqlalchemy, "redis": measure_redis}
    for name, measure in measures.items():
        if arguments.only in {None, name}:
            with tempfile.TemporaryDirectory(prefix="fpbus-bench-") as folder:
                load = round(os.getloadavg()[0], 2)
                row = {"variant": name, "schedules": arguments.schedules, "load": load}
                print(json.dumps(row | measure(Path(folder), arguments.schedules)), flush=True)


def crons(count: int) -> Iterator[tuple[int, int, int]]:
    """Yield minute, hour and weekday; the weekday is neither today nor tomorrow, so that none is due meanwhile."""
    dice = random.Random(4)
    today = datetime.now(UTC).isoweekday()
    for _ in range(count):
        yield dice.randrange(60), dice.randrange(24), (today + dice.randint(2, 6)) % 7


def due_times(first: datetime) -> list[datetime]:
    return [first + timedelta(seconds=number // DUE_PER_S) for number in range(DUE_PER_S * SECONDS)]


def figures(startup_s: float, rss: int, late_s: Sequence[float]) -> Figures:
    milliseconds = [late * 1000 for late in late_s]
    return {
        "startup_s": round(startup_s, 2),
        "rss_mb": round(rss / 1e6, 1),
        "fired": len(late_s),
        "late_p50_ms": round(percentile(milliseconds, 50), 1),
        "late_p99_ms": round(percentile(milliseconds, 99), 1),
        "late_max_ms": round(max(milliseconds), 1),
    }


def start_child(kind: str, about: Any) -> "subprocess.Popen[str]":
    """Run this program as a scheduler; return when it says that it is ready."""
    command = [sys.executable, __file__, "--child", kind, json.dumps(about)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("ready"), f"{kind} said {line!r}"
    return process


# fpbus.


def measure_fpbus(folder: Path, count: int) -> Figures:
    (folder / "conf/pipelines").mkdir(parents=True)
    (folder / "conf/project.yml").write_text("name: bench\n")
    broker = mosquitto(folder / "mosquitto").start()
    try:
        return _measure_fpbus(folder, broker.url, count)
    finally:
        broker.stop()


def _measure_fpbus(folder: Path, url: str, count: int) -> Figures:
    settings = Settings(mqtt_url=url, project=str(folder), instance="bench", log_level="WARNING")
    store = Store(Database(schedules_url(settings)), "bench")
    store.open()
    first = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=WARM_UP_S["fpbus"])
    due = {f"date-{number}": moment for number, moment in enumerate(due_times(first))}
    with store.changes() as changes:
        changes.put(_specs(due, count - len(due)))
    store.close()
    wanted = {run_id_of(name, moment): moment for name, moment in due.items()}
    late: list[float] = []
    bus, inbox = open_bus(url, "bench", durable=True), Inbox()
    bus.subscribe(inbox, topics.RUN)
    bus.start()
    began = time.monotonic()
    child = start_child("fpbus", {"mqtt_url": url, "project": str(folder)})
    startup_s = time.monotonic() - began
    end = first + timedelta(seconds=SECONDS + 30)
    while len(late) < len(wanted) and datetime.now(UTC) < end:
        for delivery in inbox.take(100, 0.5):
            now, run_id = datetime.now(UTC), decode(delivery.payload, RunRequest).run_id or ""
            late.append((now - wanted[run_id]).total_seconds())
            pipeline = delivery.topic.split("/")[1]
            status = RunStatus(run_id=run_id, pipeline=pipeline, state=RunState.ACCEPTED, at=now)
            bus.publish(topics.status(pipeline, run_id), status)
            bus.ack(delivery)
    rss = psutil.Process(child.pid).memory_info().rss
    child.terminate()
    child.wait(30)
    bus.stop()
    return figures(startup_s, rss, late)


def _specs(due: dict[str, datetime], others: int) -> Iterator[ScheduleSpec]:
    since = datetime.now(UTC).replace(microsecond=0)
    for number, (name, moment) in enumerate(due.items()):
        pipeline = f"p{number % PIPELINES}"
        yield ScheduleSpec(id=name, pipeline=pipeline, date=moment.isoformat(), timezone="UTC", since=since)
    for number, (minute, hour, weekday) in enumerate(crons(others)):
        yield ScheduleSpec(
            id=f"cron-{number}",
            pipeline=f"p{number % PIPELINES}",
            cron=f"{minute} {hour} * * {weekday}",
            timezone="Europe/Berlin",
            since=since,
        )


def _be_fpbus(about: str) -> None:
    serve(Settings(**json.loads(about), instance="bench"))


# APScheduler. Its stores are filled as they fill themselves, in one go: a hundred thousand commits would take minutes.


def measure_sqlalchemy(folder: Path, count: int) -> Figures:
    url = f"sqlite:///{folder}/jobs.db"
    return _measure_apscheduler("sqlalchemy", url, count, _fill_sqlalchemy)


def measure_redis(folder: Path, count: int) -> Figures:
    redis = redis_server(folder / "redis").start()
    try:
        return _measure_apscheduler("redis", redis.port, count, _fill_redis)
    finally:
        redis.stop()


def _measure_apscheduler(kind: str, where: Any, count: int, fill: Callable[[Any, list[Job]], None]) -> Figures:
    first = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=WARM_UP_S[kind])
    scheduler = BackgroundScheduler(timezone=UTC)
    fill(where, list(_jobs(scheduler, first, count)))
    began = time.monotonic()
    child = start_child("apscheduler", {"kind": kind, "where": where, "until": SECONDS + WARM_UP_S[kind] + 60})
    startup_s = time.monotonic() - began
    assert child.stdout is not None
    answer = json.loads(child.stdout.readline())
    child.wait(60)
    return figures(startup_s, answer["rss"], answer["late"])


def _jobs(scheduler: BackgroundScheduler, first: datetime, count: int) -> Iterator[Job]:
    now, due = datetime.now(UTC), due_times(first)
    for number, moment in enumerate(due):
        yield _job(scheduler, f"date-{number}", DateTrigger(moment), [moment.timestamp()], now)
    for number, (minute, hour, weekday) in enumerate(crons(count - len(due))):
        trigger = CronTrigger(minute=minute, hour=hour, day_of_week=(weekday - 1) % 7, timezone="Europe/Berlin")
        yield _job(scheduler, f"cron-{number}", trigger, [0.0], now)


def _job(scheduler: BackgroundScheduler, name: str, trigger: Any, args: list[float], now: datetime) -> Job:
    options = {"executor": "default", "misfire_grace_time": None, "coalesce": True, "max_instances": 1}
    job = Job(scheduler, id=name, func=note, args=args, kwargs={}, trigger=trigger, name=name, **options)
    job.next_run_time = trigger.get_next_fire_time(None, now)
    return job


def _fill_sqlalchemy(url: str, jobs: list[Job]) -> None:
    store = SQLAlchemyJobStore(url)
    store.jobs_t.create(store.engine, checkfirst=True)
    rows = [
        {
            "id": job.id,
            "next_run_time": job.next_run_time.timestamp(),
            "job_state": pickle.dumps(job.__getstate__(), -1),
        }
        for job in jobs
    ]
    with store.engine.begin() as connection:
        connection.execute(sql.insert(store.jobs_t), rows)


def _fill_redis(port: int, jobs: list[Job]) -> None:
    store = RedisJobStore(port=port)
    for job in jobs:
        store.add_job(job)


_late: list[float] = []
_lock = threading.Lock()


def note(due: float) -> None:
    """Be the job: tell how late it was called."""
    late = time.time() - due
    with _lock:
        _late.append(late)


def _be_apscheduler(text: str) -> None:
    about = json.loads(text)
    where = about["where"]
    store = SQLAlchemyJobStore(where) if about["kind"] == "sqlalchemy" else RedisJobStore(port=where)
    scheduler = BackgroundScheduler(jobstores={"default": store}, timezone=UTC)
    scheduler.start()
    _say("ready")
    end = time.monotonic() + about["until"]
    while len(_late) < DUE_PER_S * SECONDS and time.monotonic() < end:
        time.sleep(0.5)
    _say(msgspec.json.encode({"late": _late, "rss": psutil.Process().memory_info().rss}).decode())
    os._exit(0)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


_CHILDREN: Final[dict[str, Callable[[str], None]]] = {"fpbus": _be_fpbus, "apscheduler": _be_apscheduler}

if __name__ == "__main__":
    sys.modules["bench.schedules"] = sys.modules["__main__"]
    note.__module__ = "bench.schedules"  # where a job store finds it again
    main()
