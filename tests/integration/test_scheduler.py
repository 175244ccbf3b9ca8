"""The scheduler as a process, against a real broker."""

import logging
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path

import pytest
from msgspec import convert

from fpbus.bus import Bus, CallError, Delivery, Inbox, open_bus
from fpbus.lifecycle import ServicePresence, Settings, Stop
from fpbus.scheduler.database import Database, schedules_url
from fpbus.scheduler.handlers import run_id_of
from fpbus.scheduler.service import SchedulerService
from fpbus.scheduler.store import Store
from fpbus.schemas import (
    Reconciled,
    Rejection,
    RejectionCode,
    RunRequest,
    RunState,
    RunStatus,
    ScheduleInfo,
    Schedules,
    decode,
    topics,
)
from support.servers import Broker
from support.waiting import wait_for

_MAIN = """
import sys
from fpbus.lifecycle import Settings, configure_logs
from fpbus.scheduler import serve
configure_logs("INFO", "console")
settings = Settings(mqtt_url=sys.argv[1], project=sys.argv[2], instance=sys.argv[3])
serve(settings, activate=sys.argv[4] == "activate")
"""


class Scheduler:
    """A scheduler process; `start` returns when it says that it is ready."""

    def __init__(self, broker: Broker, folder: Path, instance: str, mode: str) -> None:
        self._command = [sys.executable, "-c", _MAIN, broker.url, str(folder), instance, mode]
        self._output = folder / f"{instance}.out"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Scheduler":
        self._output.unlink(missing_ok=True)
        with self._output.open("wb") as output, self._output.with_suffix(".log").open("ab") as logs:
            self.process = subprocess.Popen(self._command, stdout=output, stderr=logs)
        wait_for(lambda: "ready role=scheduler" in self._output.read_text(), what="the scheduler's ready line")
        return self

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self, number: int) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
        return self.process.wait(10)

    @property
    def log(self) -> str:
        return self._output.with_suffix(".log").read_text()


Answer = Callable[[Bus, str, Delivery], None]


def accept(bus: Bus, pipeline: str, delivery: Delivery) -> None:
    run_id = decode(delivery.payload, RunRequest).run_id or ""
    status = RunStatus(run_id=run_id, pipeline=pipeline, state=RunState.ACCEPTED, at=datetime.now(UTC))
    bus.publish(topics.status(pipeline, run_id), status)


def reject(bus: Bus, pipeline: str, delivery: Delivery) -> None:
    rejection = Rejection(
        code=RejectionCode.NOT_ALLOWED,
        message="Not today.",
        at=datetime.now(UTC),
        topic=delivery.topic,
        size=len(delivery.payload),
        digest=blake2b(delivery.payload, digest_size=16).hexdigest(),
        head="",
    )
    bus.publish(topics.rejected(pipeline), rejection)


def say_nothing(_bus: Bus, _pipeline: str, _delivery: Delivery) -> None:
    """Be a dispatcher that is away."""


class Dispatcher:
    """Hears run requests on a bus of its own, and answers each."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.answer: Answer = accept
        self._inbox = Inbox()
        self._heard: list[tuple[str, bytes]] = []
        bus.subscribe(self._inbox, topics.RUN)

    def run_ids(self, pipeline: str = "tick") -> list[str]:
        """Answer what has come, and return the ids of all requests so far, in order of arrival."""
        for delivery in self._inbox.take(10_000, 0):
            self._heard.append((delivery.topic, delivery.payload))
            self.answer(self.bus, delivery.topic.split("/")[1], delivery)
            self.bus.ack(delivery)
        return [
            decode(payload, RunRequest).run_id or "" for topic, payload in self._heard if topic == topics.run(pipeline)
        ]

    def at_least(self, count: int, pipeline: str = "tick") -> list[str]:
        """Return the ids when so many requests have come."""
        wait_for(lambda: len(self.run_ids(pipeline)) >= count, what=f"{count} requests")
        return self.run_ids(pipeline)

    @property
    def payloads(self) -> list[bytes]:
        return [payload for _, payload in self._heard]


@pytest.fixture
def dispatcher(mosquitto: Broker) -> Iterator[Dispatcher]:
    bus = open_bus(mosquitto.url, "test-dispatcher", durable=True)
    dispatcher = Dispatcher(bus)
    bus.start()
    assert bus.wait_connected(10)
    yield dispatcher
    bus.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "conf/pipelines").mkdir(parents=True)
    (folder / "conf/project.yml").write_text("name: shop\n")
    write_schedule(folder, "tick", "interval: 1, misfire: all")
    return folder


StartScheduler = Callable[..., Scheduler]


@pytest.fixture
def start_scheduler(mosquitto: Broker, folder: Path) -> Iterator[StartScheduler]:
    started: list[Scheduler] = []

    def start(instance: str = "one", mode: str = "activate") -> Scheduler:
        started.append(Scheduler(mosquitto, folder, instance, mode))
        return started[-1].start()

    yield start
    for scheduler in started:
        scheduler.end(signal.SIGKILL)


@pytest.fixture
def impatient_scheduler(mosquitto: Broker, folder: Path) -> Iterator[SchedulerService]:
    """A scheduler within this process that sends again every 0.2 s."""
    settings = Settings(mqtt_url=mosquitto.url, project=str(folder), instance="here")
    presence = ServicePresence("scheduler", "here")
    bus = open_bus(settings.need("mqtt_url"), "fpbus-scheduler-here", presence=presence)
    store = Store(Database(schedules_url(settings)), "here")
    service = SchedulerService(settings.project_dir, store, bus, presence, Stop(), "here", activate=True, resend_s=0.2)
    yield service
    service.stop()


def write_schedule(folder: Path, name: str, schedule: str) -> None:
    (folder / f"conf/pipelines/{name}.yml").write_text(f"schedule: {{{schedule}}}\n")


def moment_of(run_id: str) -> datetime:
    return datetime.strptime(run_id.split("-")[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def every_second(first: str, last: str) -> list[str]:
    """Return the ids of all slots of `tick` from one to another."""
    start, end = moment_of(first), moment_of(last)
    return [run_id_of("tick", start + timedelta(seconds=n)) for n in range(int((end - start).total_seconds()) + 1)]


def test_each_second_has_one_request_with_the_id_of_its_slot(
    dispatcher: Dispatcher, start_scheduler: StartScheduler
) -> None:
    start_scheduler()

    ids = dispatcher.at_least(4)

    assert ids == every_second(ids[0], ids[-1])
    assert dispatcher.payloads[0] == b'{"type":"run_request","run_id":"%s"}' % ids[0].encode()


def test_two_schedulers_ask_for_the_same_runs(dispatcher: Dispatcher, start_scheduler: StartScheduler) -> None:
    start_scheduler("one")
    start_scheduler("two")

    ids = dispatcher.at_least(len(dispatcher.run_ids()) + 8)

    distinct = sorted(set(ids))
    assert distinct == every_second(distinct[0], distinct[-1])
    assert len(ids) > len(distinct)


def test_a_killed_scheduler_makes_up_for_the_slots_that_it_missed(
    dispatcher: Dispatcher, start_scheduler: StartScheduler
) -> None:
    scheduler = start_scheduler()
    dispatcher.at_least(2)

    scheduler.end(signal.SIGKILL)
    back_at = datetime.now(UTC) + timedelta(seconds=4)
    wait_for(lambda: datetime.now(UTC) >= back_at, what="four seconds without a scheduler")
    scheduler.start()
    wait_for(lambda: moment_of(max(dispatcher.run_ids())) > back_at, what="a request after it")

    ids = sorted(set(dispatcher.run_ids()))
    assert ids == every_second(ids[0], ids[-1])


def test_a_killed_scheduler_whose_policy_is_last_fires_the_latest_slot_only(
    folder: Path, dispatcher: Dispatcher, start_scheduler: StartScheduler
) -> None:
    write_schedule(folder, "tick", "interval: 2, misfire: last")
    scheduler = start_scheduler()
    dispatcher.at_least(2)
    wait_for(lambda: listed(dispatcher)["tick"].last_fired, what="the store to know of it")

    scheduler.end(signal.SIGKILL)
    before = moment_of(max(dispatcher.run_ids()))
    back_at = before + timedelta(seconds=11)
    wait_for(lambda: datetime.now(UTC) >= back_at, what="eleven seconds without a scheduler")
    scheduler.start()
    wait_for(lambda: moment_of(max(dispatcher.run_ids())) > datetime.now(UTC) - timedelta(seconds=1), what="a request")

    missed = {run_id for run_id in dispatcher.run_ids() if before < moment_of(run_id) < back_at - timedelta(seconds=2)}
    assert missed == set()
    assert "skipped slots that were missed" in scheduler.log


def test_a_frozen_scheduler_catches_up_when_it_thaws(dispatcher: Dispatcher, start_scheduler: StartScheduler) -> None:
    scheduler = start_scheduler()
    wait_for(dispatcher.run_ids, what="a request")

    scheduler.send(signal.SIGSTOP)
    thaw_at = datetime.now(UTC) + timedelta(seconds=3)
    wait_for(lambda: datetime.now(UTC) >= thaw_at, what="three seconds of frost")
    scheduler.send(signal.SIGCONT)
    wait_for(lambda: moment_of(dispatcher.run_ids()[-1]) >= thaw_at, what="a request after it")

    ids = dispatcher.run_ids()
    assert ids == every_second(ids[0], ids[-1])


def test_no_slot_is_lost_while_the_broker_is_away(
    mosquitto: Broker, dispatcher: Dispatcher, start_scheduler: StartScheduler
) -> None:
    start_scheduler()
    wait_for(dispatcher.run_ids, what="a request")

    mosquitto.kill()
    back_at = datetime.now(UTC) + timedelta(seconds=3)
    wait_for(lambda: datetime.now(UTC) >= back_at, what="three seconds without a broker")
    mosquitto.start()

    def whole() -> bool:
        ids = sorted(set(dispatcher.run_ids()))
        return moment_of(ids[-1]) > back_at and ids == every_second(ids[0], ids[-1])

    wait_for(whole, 30, what="a request for every second before, during and after")


def test_an_edited_file_counts_when_it_is_activated_again(
    folder: Path, dispatcher: Dispatcher, start_scheduler: StartScheduler
) -> None:
    start_scheduler()
    wait_for(dispatcher.run_ids, what="a request of the first schedule")

    write_schedule(folder, "tock", "interval: 1s")
    write_schedule(folder, "tick", "interval: 1, enabled: false")
    dispatcher.at_least(len(dispatcher.run_ids()) + 3)
    nothing_yet = dispatcher.run_ids("tock")
    report = convert(dispatcher.bus.call("scheduler", "schedule_all"), Reconciled)
    dispatcher.at_least(2, "tock")

    assert nothing_yet == []
    assert report == Reconciled(added=["tock"], changed=[], removed=["tick"], unchanged=[], conflicts=[])
    ticks = len(dispatcher.run_ids())
    dispatcher.at_least(len(dispatcher.run_ids("tock")) + 3, "tock")
    assert len(dispatcher.run_ids()) <= ticks + 1  # one may have been on its way


def test_a_broken_file_leaves_the_schedules_as_they_were(
    folder: Path, dispatcher: Dispatcher, start_scheduler: StartScheduler
) -> None:
    start_scheduler()
    write_schedule(folder, "tick", "interval: 1 fortnight")

    with pytest.raises(CallError, match=r"conf/pipelines/tick\.yml: `schedule\.interval` is '1 fortnight'"):
        dispatcher.bus.call("scheduler", "schedule_all")

    dispatcher.at_least(len(dispatcher.run_ids()) + 2)


def test_without_activate_nothing_is_stored_and_nothing_is_fired(
    dispatcher: Dispatcher, start_scheduler: StartScheduler
) -> None:
    start_scheduler(mode="idle")
    enough = datetime.now(UTC) + timedelta(seconds=3)

    wait_for(lambda: datetime.now(UTC) > enough, what="three slots")

    assert listed(dispatcher) == {}
    assert dispatcher.run_ids() == []


def test_what_was_activated_once_stays_active(dispatcher: Dispatcher, start_scheduler: StartScheduler) -> None:
    start_scheduler().end(signal.SIGTERM)
    start_scheduler(mode="idle")

    dispatcher.at_least(len(dispatcher.run_ids()) + 2)


def test_a_stopped_scheduler_has_nothing_to_make_up_for(
    dispatcher: Dispatcher, start_scheduler: StartScheduler
) -> None:
    scheduler = start_scheduler()
    dispatcher.at_least(3)

    scheduler.end(signal.SIGTERM)
    scheduler.start()
    ids = dispatcher.at_least(len(dispatcher.run_ids()) + 3)

    assert len(ids) - len(set(ids)) <= 1  # the acceptance of the last one may have come after the goodbye
    assert sorted(set(ids)) == every_second(min(ids), max(ids))


def test_what_nobody_accepted_is_sent_again_until_somebody_does(
    dispatcher: Dispatcher, impatient_scheduler: SchedulerService
) -> None:
    dispatcher.answer = say_nothing
    impatient_scheduler.start()
    first = wait_for(dispatcher.run_ids, what="a request")[0]
    wait_for(lambda: dispatcher.run_ids().count(first) >= 3, what="two repeats")

    dispatcher.answer = accept
    slots_later(dispatcher, 2)
    repeats = dispatcher.run_ids().count(first)
    slots_later(dispatcher, 2)  # ten more could have come

    assert dispatcher.run_ids().count(first) == repeats


def test_a_rejected_slot_is_told_once_and_not_sent_again(
    dispatcher: Dispatcher, impatient_scheduler: SchedulerService, caplog: pytest.LogCaptureFixture
) -> None:
    dispatcher.answer = reject
    impatient_scheduler.start()
    first = wait_for(dispatcher.run_ids, what="a request")[0]

    slots_later(dispatcher, 3)

    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert listed(dispatcher)["tick"].last_error == "not_allowed: Not today."
    assert [vars(record)["run_id"] for record in errors].count(first) == 1
    assert errors[0].getMessage() == "the dispatcher rejected a slot: Not today."
    assert dispatcher.run_ids().count(first) == 1


def listed(dispatcher: Dispatcher) -> dict[str, ScheduleInfo]:
    answer = convert(dispatcher.bus.call("scheduler", "list", timeout_s=10), Schedules)
    return {schedule.id: schedule for schedule in answer.schedules}


def slots_later(dispatcher: Dispatcher, count: int) -> None:
    enough = len(set(dispatcher.run_ids())) + count
    wait_for(lambda: len(set(dispatcher.run_ids())) >= enough, what=f"{count} more slots")
