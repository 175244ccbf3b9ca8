"""Runs of the past, run again: by time and key, once however often it is asked, whoever dies meanwhile."""

import signal
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
import pytest
import sqlalchemy as sql

from fpbus.bus import open_bus
from fpbus.control import Control
from fpbus.dispatcher.handlers import Admission, Rules
from fpbus.dispatcher.replaying import judge
from fpbus.lifecycle import Settings
from fpbus.recorder.database import metadata
from fpbus.recorder.handlers import RunRow
from fpbus.recorder.history import put
from fpbus.recorder.originals import PAGE_CHARS, list_originals
from fpbus.schemas import (
    LimitsConfig,
    ListOriginals,
    ListRuns,
    Original,
    PipelineConfig,
    Replay,
    Replayed,
    ReplayStep,
    RunRequest,
    RunState,
    replay_id,
)
from support.commands import Commands, Done
from support.device import Device
from support.servers import Broker
from support.stack import Stack
from support.waiting import wait_for

LONG_AGO: Final = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def control(mosquitto: Broker) -> Iterator[Control]:
    with Control.connect(Settings(mqtt_url=mosquitto.url)) as made:
        yield made


def replay(control: Control, **wanted: Any) -> Counter[str]:
    pages = control.replay("add", wanted.pop("since", LONG_AGO), **wanted)
    return Counter(run.outcome for page in pages for run in page.runs)


def put_in(stack: Stack, device: Device, count: int) -> None:
    for number in range(count):
        device.run("add", {"run_id": f"r-{number}", "inputs": {"x": number}, "key": f"k{number % 5}"})
    stack.wait_records(count)


def test_fifty_runs_are_replayed_by_time_and_key_and_only_once(stack: Stack, device: Device, control: Control) -> None:
    stack.start()
    put_in(stack, device, 25)
    middle = max(run.accepted_at or LONG_AGO for run in control.list_runs()) + timedelta(microseconds=1)
    for number in range(25, 50):
        device.run("add", {"run_id": f"r-{number}", "inputs": {"x": number}, "key": f"k{number % 5}"})
    stack.wait_records(50)

    assert replay(control, dry=True) == {"created": 50}
    assert len(control.list_runs(ListRuns(limit=200))) == 50
    assert replay(control, since=middle, key="k3") == {"created": 5}
    assert replay(control, until=middle) == {"created": 25}
    stack.wait_records(80)
    assert replay(control) == {"created": 20, "there": 30}
    assert replay(control) == {"there": 50}
    stack.wait_records(100)
    assert replay(control, name="other") == {"created": 50}
    assert replay(control, name="other") == {"there": 50}
    stack.wait_records(150)

    assert Counter(stack.executions()) == dict.fromkeys(range(50), 3)
    first = control.show_run(replay_id("r-7"))
    assert (first.retry_of, first.key, first.request and first.request.inputs) == ("r-7", "k2", {"x": 7})


def test_a_dispatcher_that_is_killed_in_the_middle_of_a_replay_makes_no_run_twice(
    stack: Stack, device: Device, control: Control
) -> None:
    stack.start()
    put_in(stack, device, 250)
    pages = control.replay("add", LONG_AGO)
    first = next(pages)
    assert Counter(run.outcome for run in first.runs) == {"created": 100}

    stack.processes["dispatcher"].kill(signal.SIGKILL)
    stack.processes["dispatcher"].start()
    told = Counter(run.outcome for page in pages for run in page.runs)

    assert told.total() == 150
    assert told["rejected"] == 0
    stack.wait_records(500)
    assert replay(control) == {"there": 250}
    assert Counter(stack.executions()) == dict.fromkeys(range(250), 2)


def test_what_the_ledger_knows_is_not_created_again_before_the_history_knows_it(
    stack: Stack, device: Device, mosquitto: Broker
) -> None:
    stack.start()
    put_in(stack, device, 3)
    found = [Original(run_id=f"r-{n}", at=LONG_AGO, request=RunRequest(inputs={"x": n})) for n in range(3)]
    stack.kill("recorder")
    caller = open_bus(mosquitto.url, "caller")
    caller.start()

    def ask(priority: str) -> Counter[str]:
        asked = msgspec.convert({"pipeline": "add", "runs": found, "priority": priority}, Replay, from_attributes=True)
        step = msgspec.convert(caller.call("dispatcher", "replay", asked, 5), ReplayStep)
        return Counter(run.outcome for run in step.runs)

    assert [ask("low"), ask("low"), ask("high")] == [{"created": 3}, {"there": 3}, {"there": 3}]
    caller.stop()
    stack.processes["recorder"].start().wait_ready()
    stack.wait_records(6)


def test_the_command_says_what_it_did_and_exits_accordingly(stack: Stack, device: Device, control: Control) -> None:
    stack.start()
    put_in(stack, device, 4)
    fpbus = Commands(stack.folder)
    fpbus.environment = stack.environment

    def typed(*arguments: str) -> Done:
        return fpbus("replay", "--pipeline", "add", "--since", "2h", *arguments)

    assert typed("--dry-run") == (
        0,
        "WOULD BE CREATED  ALREADY THERE  REJECTED\n4                 0              0\n",
        "",
    )
    assert msgspec.json.decode(typed("--key", "k1", "--format", "json").out) == {
        "pipeline": "add", "dry_run": False, "created": 1, "there": 0, "rejected": 0,
    }  # fmt: skip
    assert typed() == (0, "CREATED  ALREADY THERE  REJECTED\n3        1              0\n", "")
    nothing = typed("--key", "nobody")
    assert (nothing.code, nothing.out) == (4, "")
    assert "no run of add" in nothing.told
    assert typed("--until", "soon").code == 2
    stack.wait_records(8)
    wait_for(lambda: control.queues().open == 0)


def test_pages_are_bounded_by_number_and_size_and_leave_out_what_cannot_be_replayed(tmp_path: Path) -> None:
    engine = sql.create_engine(f"sqlite:///{tmp_path}/db")
    metadata.create_all(engine)
    big = RunRequest(inputs={"text": "x" * (PAGE_CHARS // 2)})
    rows = [_row(f"n-{number:03}", 10) for number in range(150)]
    rows += [_row(f"big-{number}", 20, request=big) for number in range(3)]
    rows += [_row("open", 10, ended=False), _row("repeat", 10, retry_of="n-001"), _row("unasked", 10, request=None)]
    query = ListOriginals(pipeline="add", since=LONG_AGO, until=LONG_AGO + timedelta(seconds=20))
    pages: list[list[str]] = []
    with engine.begin() as connection:
        put(connection, [*rows, _row("late", 21)], {})
        while True:
            page = list_originals(connection, query)
            pages.append([run.run_id for run in page.runs])
            if page.behind is None:
                break
            query = msgspec.structs.replace(query, behind=page.behind)
    engine.dispose()

    assert [run_id for page in pages for run_id in page] == [row.run_id for row in rows[:153]]
    assert [len(page) for page in pages] == [100, 52, 1]


def test_a_request_that_no_job_can_carry_is_rejected_alone() -> None:
    rules = Rules({"add": PipelineConfig()}, LimitsConfig(), ZoneInfo("UTC"))
    asked = Replay(pipeline="add", runs=[])
    request = RunRequest(inputs={"x": 2**70}, reply_to="devices/1", expires_at=LONG_AGO)

    refused = judge(Original(run_id="r", at=LONG_AGO, request=request), asked, rules, datetime.now(UTC))
    fine = msgspec.structs.replace(request, inputs={"x": 1})
    admitted = judge(Original(run_id="r", at=LONG_AGO, request=fine), asked, rules, datetime.now(UTC))

    assert isinstance(refused, Replayed)
    assert (refused.run_id, refused.outcome) == (replay_id("r"), "rejected")
    assert "64 bits" in (refused.reason or "")
    assert isinstance(admitted, Admission)
    assert not admitted.expired
    assert (admitted.job.retry_of, admitted.job.request.reply_to) == ("r", None)


def _row(
    run_id: str,
    second: int,
    *,
    request: RunRequest | None = RunRequest(),  # noqa: B008 (frozen)
    retry_of: str | None = None,
    ended: bool = True,
) -> RunRow:
    at = LONG_AGO + timedelta(seconds=second)
    return RunRow(
        run_id=run_id,
        pipeline="add",
        state=RunState.SUCCEEDED if ended else RunState.QUEUED,
        attempt=1,
        at=at,
        accepted_at=at,
        finished_at=at if ended else None,
        retry_of=retry_of,
        request=None if request is None else msgspec.json.encode(request).decode(),
    )
