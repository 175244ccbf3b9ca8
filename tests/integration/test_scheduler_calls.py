"""What the scheduler is asked over a real broker, and what its store keeps."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fpbus.bus import Bus, CallError, Inbox, open_bus
from fpbus.schemas import (
    CallCode,
    ChangedSchedules,
    ChooseSchedules,
    Explain,
    Explained,
    ListSchedules,
    PutSchedule,
    Reconciled,
    RunRequest,
    RunSettings,
    RunState,
    RunStatus,
    ScheduleAll,
    ScheduleInfo,
    Schedules,
    StoredSchedule,
    Submit,
    Submitted,
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
serve(Settings(mqtt_url=sys.argv[1], project=sys.argv[2], instance=sys.argv[3]))
"""


class Desk:
    """A project with a scheduler, and a client that asks it."""

    def __init__(self, broker: Broker, folder: Path, bus: Bus) -> None:
        self._broker = broker
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.folder = folder
        self.bus = bus

    def start(self, instance: str = "one") -> None:
        output = self.folder / f"{instance}.out"
        output.unlink(missing_ok=True)
        command = [sys.executable, "-c", _MAIN, self._broker.url, str(self.folder), instance]
        with output.open("wb") as out, output.with_suffix(".log").open("ab") as log:
            self._processes[instance] = subprocess.Popen(command, stdout=out, stderr=log)
        wait_for(lambda: "ready role=scheduler" in output.read_text(), what="the scheduler's ready line")

    def end(self, number: int = signal.SIGKILL, instance: str = "one") -> None:
        process = self._processes[instance]
        if process.poll() is None:
            process.send_signal(number)
        process.wait(10)

    def end_all(self) -> None:
        for instance in self._processes:
            self.end(signal.SIGKILL, instance)

    def ask(self, verb: str, arguments: msgspec.Struct | None = None) -> Any:
        return self.bus.call("scheduler", verb, arguments, timeout_s=10)

    def put(self, **fields: Any) -> StoredSchedule:
        given: dict[str, Any] = {"pipeline": "tick", **fields}
        answer = self.ask("put_schedule", PutSchedule(**given))
        return msgspec.convert(answer, StoredSchedule)

    def refusal(self, verb: str, arguments: msgspec.Struct) -> tuple[CallCode, str]:
        with pytest.raises(CallError) as caught:
            self.ask(verb, arguments)
        return caught.value.failure.code, caught.value.failure.message

    def change(self, verb: str, **chosen: Any) -> ChangedSchedules:
        return msgspec.convert(self.ask(verb, ChooseSchedules(**chosen)), ChangedSchedules)

    def listed(self, **wanted: Any) -> dict[str, ScheduleInfo]:
        answer = msgspec.convert(self.ask("list", ListSchedules(**wanted)), Schedules)
        return {schedule.id: schedule for schedule in answer.schedules}

    def explain(self, what: str, **how: Any) -> Explained:
        return msgspec.convert(self.ask("explain", Explain(what=what, **how)), Explained)

    def reconcile(self, **how: Any) -> Reconciled:
        return msgspec.convert(self.ask("schedule_all", ScheduleAll(**how)), Reconciled)

    def write(self, pipeline: str, text: str) -> None:
        (self.folder / f"conf/pipelines/{pipeline}.yml").write_text(text)

    def hear_runs(self, pipeline: str = "tick") -> Callable[[], list[RunRequest]]:
        """Hear requests from now on."""
        inbox, heard = Inbox(), list[RunRequest]()
        self.bus.subscribe(inbox, topics.run(pipeline))

        def requests() -> list[RunRequest]:
            for delivery in inbox.take(1000, 0):
                self.bus.ack(delivery)
                heard.append(decode(delivery.payload, RunRequest))
            return heard

        return requests


@pytest.fixture
def desk(mosquitto: Broker, tmp_path: Path) -> Iterator[Desk]:
    folder = tmp_path / "project"
    (folder / "conf/pipelines").mkdir(parents=True)
    (folder / "conf/project.yml").write_text("name: shop\ntimezone: Europe/Berlin\n")
    bus = open_bus(mosquitto.url, "asks")
    desk = Desk(mosquitto, folder, bus)
    desk.write("tick", "run: {max_retries: 0}\n")
    desk.write("daily", "schedule: {cron: '30 2 * * *', inputs: {x: 1}}\n")
    bus.start()
    assert bus.wait_connected(10)
    desk.start()
    yield desk
    desk.end_all()
    bus.stop()


def test_a_schedule_that_is_put_fires_with_what_was_said(desk: Desk) -> None:
    requests = desk.hear_runs()

    stored = desk.put(id="often", interval=1, settings=RunSettings(inputs={"x": 1}), key="boiler")

    request = wait_for(requests, what="a request")[0]
    assert (request.inputs, request.key) == ({"x": 1}, "boiler")
    assert (request.run_id or "").startswith("often-")
    assert (stored.replaced, stored.schedule.trigger, stored.schedule.active) == (False, "every 1s", True)
    assert stored.schedule.timezone == "Europe/Berlin"


def test_a_taken_id_is_refused_unless_it_may_be_overwritten(desk: Desk) -> None:
    desk.put(id="mine", cron="@daily")

    refused = desk.refusal("put_schedule", PutSchedule(pipeline="tick", id="mine", cron="@hourly"))
    kept = desk.listed()["mine"].trigger
    replaced = desk.put(id="mine", cron="@hourly", overwrite=True)

    assert refused == (CallCode.REJECTED, "There is a schedule 'mine' already, for the pipeline 'tick'.")
    assert (kept, replaced.replaced, desk.listed()["mine"].trigger) == ("cron @daily", True, "cron @hourly")


def test_an_id_that_nobody_gave_is_derived_and_taken_the_second_time(desk: Desk) -> None:
    stored = desk.put(cron="0 5 * * *")

    code, message = desk.refusal("put_schedule", PutSchedule(pipeline="tick", cron="0 5 * * *"))

    assert stored.schedule.id.startswith("tick-cron-")
    assert (code, stored.schedule.id in message) == (CallCode.REJECTED, True)


_UNUSABLE: list[tuple[PutSchedule, CallCode, str]] = [
    (PutSchedule(pipeline="tock", cron="@daily"), CallCode.NOT_FOUND, "No pipeline named 'tock' in this project."),
    (PutSchedule(pipeline="tick"), CallCode.REJECTED, "it must have one of `cron`, `interval` and `date`"),
    (PutSchedule(pipeline="tick", cron="x"), CallCode.REJECTED, "`cron` is 'x'; it must be five fields"),
    (PutSchedule(pipeline="tick", cron="@daily", interval=1), CallCode.REJECTED, "it must have one of"),
    (PutSchedule(pipeline="tick", date="2020-01-01"), CallCode.REJECTED, "would never be due: its time is over"),
    (PutSchedule(pipeline="tick", cron="@daily", timezone="Mars"), CallCode.REJECTED, "`timezone` is 'Mars'"),
    (PutSchedule(pipeline="tick", cron="@daily", misfire="some"), CallCode.INVALID_CALL, "Invalid enum value"),  # type: ignore[arg-type]  # that is the point
    (PutSchedule(pipeline="tick", cron="@daily", id="a b"), CallCode.INVALID_CALL, "matching regex"),
    (
        PutSchedule(pipeline="tick", cron="@daily", settings=RunSettings(executor="quantum")),
        CallCode.REJECTED,
        "The settings cannot be used",
    ),
]


def test_what_cannot_be_scheduled_is_refused_in_words(desk: Desk) -> None:
    refusals = [desk.refusal("put_schedule", put) for put, _, _ in _UNUSABLE]

    assert [code for code, _ in refusals] == [code for _, code, _ in _UNUSABLE]
    assert [
        message for (_, message), (_, _, part) in zip(refusals, _UNUSABLE, strict=True) if part not in message
    ] == []
    assert desk.listed() == {}


def test_without_a_trigger_the_file_s_schedule_becomes_active(desk: Desk) -> None:
    stored = desk.put(pipeline="daily")

    assert (stored.schedule.id, stored.schedule.origin) == ("daily", "yaml")
    assert desk.reconcile().unchanged == ["daily"]


def test_a_paused_schedule_fires_nothing_and_makes_up_for_nothing(desk: Desk) -> None:
    requests = desk.hear_runs()
    desk.put(id="often", interval=1, misfire="all")
    wait_for(requests, what="a request")

    paused, again = desk.change("pause", id="often"), desk.change("pause", id="often")
    heard = len(requests())
    enough = datetime.now(UTC) + timedelta(seconds=4)
    wait_for(lambda: datetime.now(UTC) > enough, what="four slots")
    meanwhile = len(requests()) - heard
    info = desk.listed()["often"]
    resumed_at = datetime.now(UTC)
    resumed = desk.change("resume", every=True)
    wait_for(lambda: len(requests()) > heard + meanwhile, what="a request after it")

    assert (paused.changed, again.changed, again.unchanged) == (["often"], [], ["often"])
    assert meanwhile <= 1  # one may have been on its way
    assert (info.paused, info.active, info.next_due) == (True, False, None)
    assert resumed.changed == ["often"]
    moments = [(request.run_id or "").split("-")[1] for request in requests()[heard + meanwhile :]]
    assert min(moments) >= resumed_at.strftime("%Y%m%dT%H%M%SZ")


def test_a_removed_schedule_is_gone(desk: Desk) -> None:
    requests = desk.hear_runs()
    desk.put(id="often", interval=1)
    desk.put(id="other", interval=1)
    wait_for(requests, what="a request")

    removed = desk.change("remove", id="often")

    assert removed.changed == ["often"]
    assert set(desk.listed()) == {"other"}
    assert desk.refusal("remove", ChooseSchedules(id="often"))[0] == CallCode.NOT_FOUND
    heard = len(requests())
    wait_for(lambda: len(requests()) >= heard + 3, what="requests of the other one")
    assert len([one for one in requests()[heard:] if (one.run_id or "").startswith("often")]) <= 1
    assert desk.change("remove", every=True).changed == ["other"]
    assert desk.change("remove", every=True).changed == []


def test_one_or_all_has_to_be_said(desk: Desk) -> None:
    for verb in ("pause", "resume", "remove"):
        assert desk.refusal(verb, ChooseSchedules())[0] == CallCode.REJECTED
        assert desk.refusal(verb, ChooseSchedules(id="a", every=True))[0] == CallCode.REJECTED
        assert desk.refusal(verb, ChooseSchedules(id="a"))[0] == CallCode.NOT_FOUND


def test_schedule_all_reconciles_the_store_with_the_files(desk: Desk) -> None:
    desk.write("hourly", "schedule: {cron: '@hourly'}\n")
    desk.write("off", "schedule: {cron: '@hourly', enabled: false}\n")
    desk.put(id="hourly", cron="@weekly")

    first = desk.reconcile()
    desk.write("daily", "schedule: {cron: '30 3 * * *'}\n")
    second = desk.reconcile(overwrite=True)
    desk.write("daily", "run: {max_retries: 0}\n")
    third = desk.reconcile()

    assert (first.added, first.conflicts) == (["daily"], ["hourly"])
    assert sorted(second.changed) == ["daily", "hourly"]
    assert (third.removed, third.unchanged) == (["daily"], ["hourly"])
    assert desk.listed()["hourly"].trigger == "cron @hourly"


def test_schedule_all_can_choose_an_executor_for_all(desk: Desk) -> None:
    report = desk.reconcile(executor="threadpool")

    spec = desk.listed()["daily"].spec
    assert report.added == ["daily"]
    assert spec is not None
    assert spec.settings == RunSettings(inputs={"x": 1}, executor={"type": "threadpool"})


def test_the_list_has_pages_and_filters(desk: Desk) -> None:
    for name in "abc":
        desk.put(id=name, cron="@daily")
    desk.put(pipeline="daily")

    page = msgspec.convert(desk.ask("list", ListSchedules(limit=2, offset=1)), Schedules)

    assert ([one.id for one in page.schedules], page.total) == (["b", "c"], 4)
    assert set(desk.listed(pipeline="daily")) == {"daily"}
    assert set(desk.listed(id="a")) == {"a"}


def test_explain_knows_ids_pipelines_and_expressions(desk: Desk) -> None:
    desk.put(id="mine", cron="0 12 * * mon")
    start = "2026-03-28T00:00"

    by_id, by_name = desk.explain("mine", start=start, count=1), desk.explain("daily", start=start, count=3)
    expression = desk.explain("1h30m", start="2026-03-28T00:00Z", timezone="UTC", count=2)

    assert [fire.local.isoformat() for fire in by_id.fires] == ["2026-03-30T12:00:00+02:00"]
    assert by_id.schedule is not None
    assert [(fire.utc.isoformat(), fire.local.isoformat(), fire.notes) for fire in by_name.fires] == [
        ("2026-03-28T01:30:00+00:00", "2026-03-28T02:30:00+01:00", []),
        (
            "2026-03-29T01:00:00+00:00",
            "2026-03-29T03:00:00+02:00",
            ["skipped hour: 02:30 does not exist on 2026-03-29, runs at 03:00"],
        ),
        ("2026-03-30T00:30:00+00:00", "2026-03-30T02:30:00+02:00", []),
    ]
    assert by_name.notes == ["not active; `fpbus pipeline schedule-all` activates it"]
    assert [fire.utc.isoformat() for fire in expression.fires] == [
        "2026-03-28T01:30:00+00:00",
        "2026-03-28T03:00:00+00:00",
    ]


def test_what_cannot_be_explained_is_refused(desk: Desk) -> None:
    questions = [
        (Explain(what="tick"), CallCode.NOT_FOUND),
        (Explain(what="every full moon"), CallCode.REJECTED),
        (Explain(what="@daily", timezone="Mars"), CallCode.REJECTED),
        (Explain(what="@daily", start="soon"), CallCode.REJECTED),
        (Explain(what="@daily", count=1001), CallCode.INVALID_CALL),
    ]

    assert [desk.refusal("explain", question)[0] for question, _ in questions] == [code for _, code in questions]


def test_settings_that_a_message_may_not_set_are_submitted_by_call(desk: Desk, mosquitto: Broker) -> None:
    asked: list[Submit] = []

    def submit(ask: Submit) -> Submitted:
        asked.append(ask)
        if ask.pipeline != "tick":
            raise AssertionError
        status = RunStatus(
            run_id=ask.request.run_id or "", pipeline="tick", state=RunState.ACCEPTED, at=datetime.now(UTC)
        )
        return Submitted(status=status)

    bus = open_bus(mosquitto.url, "dispatches")
    bus.answer("dispatcher", "one", {"submit": (Submit, submit)})
    bus.start()
    assert bus.wait_connected(10)
    requests = desk.hear_runs()

    desk.put(id="often", interval=1, settings=RunSettings(executor="threadpool", inputs={"x": 1}))
    wait_for(lambda: len(asked) >= 2, what="two submissions")
    wait_for(lambda: desk.listed()["often"].last_fired, what="the store to know")
    bus.stop()

    assert asked[0].request.executor == "threadpool"
    assert len({ask.request.run_id for ask in asked}) == len(asked)
    assert requests() == []


def test_what_was_answered_outlives_a_kill(desk: Desk) -> None:
    desk.put(id="mine", cron="@daily", settings=RunSettings(inputs={"x": [1, None]}))
    desk.change("pause", id="mine")
    before = desk.listed()

    desk.end(signal.SIGKILL)
    desk.start()

    assert desk.listed() == before


def test_the_store_holds_json_and_no_pickle(desk: Desk) -> None:
    desk.put(id="mine", cron="@daily", settings=RunSettings(inputs={"x": 1}))
    desk.end(signal.SIGTERM)

    with sqlite3.connect(desk.folder / ".fpbus/schedules.db") as store:
        rows = store.execute("select * from schedules").fetchall()
    store.close()

    assert [[value for value in row if isinstance(value, bytes)] for row in rows] == [[]]
    assert {"cron": "@daily", "id": "mine", "settings": {"inputs": {"x": 1}}}.items() <= msgspec.json.decode(
        rows[0][2]
    ).items()


def test_one_of_two_schedulers_answers_and_the_other_takes_over(desk: Desk) -> None:
    desk.start("two")
    desk.put(id="mine", cron="@daily")
    refused = desk.refusal("put_schedule", PutSchedule(pipeline="tick", id="mine", cron="@daily"))

    desk.end(signal.SIGKILL, "one")

    def answered() -> set[str]:
        try:
            return {
                one.id for one in msgspec.convert(desk.bus.call("scheduler", "list", timeout_s=1), Schedules).schedules
            }
        except Exception:
            return set()

    assert refused[0] == CallCode.REJECTED
    assert wait_for(answered, what="an answer of the other one") == {"mine"}


def test_a_change_reaches_a_scheduler_that_did_not_answer(desk: Desk) -> None:
    requests = desk.hear_runs()
    desk.start("two")
    desk.put(id="often", interval=1)
    wait_for(lambda: len({one.run_id for one in requests()}) < len(requests()), what="both to ask for one run")

    desk.change("remove", id="often")
    log = (desk.folder / "two.log").read_text

    wait_for(lambda: "removed=1" in log(), what="the other one to hear of it")
