"""The recorder as a real process, on a real broker, with each of its databases."""

import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import sqlalchemy as sql
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from fpbus.bus import Bus, CallError, open_bus
from fpbus.lifecycle import Settings, SettingsError
from fpbus.recorder import serve
from fpbus.recorder.database import history_url
from fpbus.schemas import (
    CallCode,
    Latest,
    ListRuns,
    LogLine,
    NodeRecord,
    Output,
    Recorded,
    RunResult,
    RunState,
    RunStatus,
    ServiceStatus,
    ShowRun,
    Stats,
    decode,
    encode,
    topics,
)
from support.servers import Broker
from support.waiting import wait_for

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SERVE = "from fpbus.recorder import serve; from fpbus.lifecycle import Settings; serve(Settings.load())"


def a_status(run_id: str, state: RunState = RunState.ACCEPTED, pipeline: str = "p") -> RunStatus:
    return RunStatus(run_id=run_id, pipeline=pipeline, state=state, at=NOON, attempt=int(state is RunState.STARTED))


def a_result(number: int, pipeline: str = "p", state: RunState = RunState.SUCCEEDED, key: str = "k") -> RunResult:
    accepted_at = NOON + timedelta(seconds=number)
    return RunResult(
        run_id=f"run-{number}",
        pipeline=pipeline,
        state=state,
        attempt=1,
        accepted_at=accepted_at,
        started_at=accepted_at + timedelta(seconds=0.1),
        finished_at=accepted_at + timedelta(seconds=0.35),
        runner="edge-1/1",
        key=key,
        outputs={"alarm": Output(json=[number, None])},
    )


@dataclass
class Recorder:
    """A recorder's process, and its history."""

    settings: Settings
    process: "subprocess.Popen[str]" = field(init=False)
    engine: sql.Engine = field(init=False)

    def __post_init__(self) -> None:
        self.engine = sql.create_engine(history_url(self.settings), poolclass=sql.NullPool)

    def start(self) -> "Recorder":
        with (self.settings.project_dir / f"{self.settings.instance}.log").open("a") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SERVE],
                env=self.settings.environment(),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self.process.stdout is not None
        assert self.process.stdout.readline().startswith(f"ready role=recorder instance={self.settings.instance}")
        return self

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        code = self.process.wait(15)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def rows(self, query: str, **parameters: str) -> list[Any]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sql.text(query), parameters)]

    def wait_for_row(self, run_id: str) -> None:
        wait_for(lambda: self.rows("SELECT 1 FROM runs WHERE run_id = :run_id", run_id=run_id), what=f"row of {run_id}")

    @contextmanager
    def locked(self) -> Generator[None]:
        """Keep the recorder from writing."""
        sqlite = self.engine.dialect.name == "sqlite"
        with self.engine.connect() as connection:
            connection.execute(sql.text("BEGIN IMMEDIATE" if sqlite else "LOCK TABLE leases IN EXCLUSIVE MODE"))
            yield

    def freeze(self) -> None:
        """Stop the process, with SQLite between two transactions: within one it would keep the lock from everyone."""
        with self.locked():
            self.process.send_signal(signal.SIGSTOP)
            wait_for(lambda: psutil.Process(self.process.pid).status() == psutil.STATUS_STOPPED)

    def take_history_away(self) -> None:
        if self.engine.dialect.name == "sqlite":
            shutil.rmtree(self.settings.project_dir / ".fpbus")
            return
        with self.engine.begin() as connection:
            connection.execute(sql.text("DROP SCHEMA public CASCADE"))
            connection.execute(sql.text("CREATE SCHEMA public"))

    def let_lease_run_out(self) -> None:
        """Do in no time what a dead recorder's lease does in five seconds."""
        with self.engine.begin() as connection:
            connection.execute(sql.text("UPDATE leases SET expires_at = 0"))


class Witness:
    """A plain MQTT client that publishes events, and keeps what is said of them."""

    def __init__(self, broker: Broker) -> None:
        self.receipts: Counter[str] = Counter()
        self.latest: list[Latest] = []
        self.services: dict[str, ServiceStatus] = {}
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id="witness")
        self.client.max_inflight_messages_set(1000)
        self.client.on_message = self._on_message
        self.client.connect("127.0.0.1", broker.port)
        self.client.subscribe([(name, 1) for name in (topics.RECORDED, topics.latest("+"), topics.PRESENCE)])
        self.client.loop_start()

    def publish(self, *events: RunStatus | RunResult) -> None:
        for event in events:
            topic_of = topics.result if isinstance(event, RunResult) else topics.status
            self.send(topic_of(event.pipeline, event.run_id), encode(event))

    def send(self, topic: str, payload: bytes) -> None:
        self.client.publish(topic, payload, qos=1)

    def wait_for_receipts(self, *results: RunResult, times: int = 1) -> None:
        wait_for(lambda: all(self.receipts[result.run_id] >= times for result in results), what="the receipts")

    def wait_for_service(self, instance: str, state: str, *, active: bool) -> None:
        def there() -> bool:
            status = self.services.get(instance)
            return status is not None and (status.state, status.active) == (state, active)

        wait_for(there, what=f"{instance} {state}")

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        payload = bytes(message.payload)
        if message.topic == topics.RECORDED:
            self.receipts.update(receipt.run_id for receipt in decode(payload, Recorded).receipts)
        elif message.topic.endswith("/latest"):
            self.latest.append(decode(payload, Latest))
        else:
            self.services[message.topic.split("/")[3]] = decode(payload, ServiceStatus)


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(mosquitto: Broker, tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    project = tmp_path / "project"
    project.mkdir()
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    return Settings(mqtt_url=mosquitto.url, history_url=url, project=str(project), instance="one")


@pytest.fixture
def recorder(settings: Settings) -> Iterator[Recorder]:
    process = Recorder(settings).start()
    yield process
    if process.process.poll() is None:
        process.end(signal.SIGKILL)


@pytest.fixture
def standby(recorder: Recorder) -> Iterator[Recorder]:
    process = Recorder(replace(recorder.settings, instance="two")).start()
    yield process
    process.end(signal.SIGKILL)


@pytest.fixture
def witness(mosquitto: Broker) -> Iterator[Witness]:
    client = Witness(mosquitto)
    yield client
    client.close()


@pytest.fixture
def bus(mosquitto: Broker) -> Iterator[Bus]:
    caller = open_bus(mosquitto.url, "caller")
    caller.start()
    assert caller.wait_connected(10)
    yield caller
    caller.stop()


def test_a_run_is_remembered_with_all_that_was_said_of_it(recorder: Recorder, witness: Witness, bus: Bus) -> None:
    result = a_result(1)
    witness.publish(a_status("run-1"), a_status("run-1", RunState.STARTED), result)
    witness.wait_for_receipts(result)

    record = bus.call("recorder", "show_run", ShowRun(run_id="run-1"))

    assert record == {
        "run_id": "run-1",
        "pipeline": "p",
        "state": "succeeded",
        "attempt": 1,
        "accepted_at": "2026-11-22T12:00:00Z",
        "started_at": "2026-11-22T12:00:00Z",
        "finished_at": "2026-11-22T12:00:01.350000Z",
        "duration_s": 1.35,
        "runner": "edge-1/1",
        "key": "k",
        "outputs": {"alarm": {"json": [1, None]}},
        "timeline": [
            {"at": "2026-11-22T12:00:00Z", "state": "accepted"},
            {"at": "2026-11-22T12:00:00Z", "state": "started", "attempt": 1, "runner": "edge-1/1"},
            {"at": "2026-11-22T12:00:01.350000Z", "state": "succeeded", "attempt": 1},
        ],
    }


def test_what_its_nodes_did_and_what_it_said_is_told_of_one_run_and_not_of_many(
    recorder: Recorder, witness: Witness, bus: Bus
) -> None:
    node = NodeRecord(node="alarm", state="finished", at=NOON, duration_s=0.2, cached=True)
    said = LogLine(at=NOON, level="info", text="measuring \0 \x1b[31m")
    result = msgspec.structs.replace(a_result(1), nodes=[node], log=[said], dropped=3)

    witness.publish(result, a_result(2))
    witness.wait_for_receipts(result, a_result(2))

    shown, plain = (bus.call("recorder", "show_run", ShowRun(run_id=run_id)) for run_id in ("run-1", "run-2"))
    listed = bus.call("recorder", "list_runs", ListRuns())
    at = "2026-11-22T12:00:00Z"
    assert shown["nodes"] == [{"node": "alarm", "state": "finished", "at": at, "duration_s": 0.2, "cached": True}]
    assert shown["log"] == [{"at": at, "level": "info", "text": said.text}]
    assert shown["dropped"] == 3
    assert shown.keys() - plain.keys() == {"nodes", "log", "dropped"}
    assert not any(run.keys() & {"nodes", "log", "dropped", "account"} for run in listed)


def test_runs_are_listed_newest_first_and_filtered(recorder: Recorder, witness: Witness, bus: Bus) -> None:
    results = [a_result(1), a_result(2, state=RunState.FAILED), a_result(3, pipeline="q"), a_result(4, key="other")]
    witness.publish(*results, a_status("waiting"))
    witness.wait_for_receipts(*results)
    recorder.wait_for_row("waiting")

    def listed(**filters: Any) -> list[str]:
        return [run["run_id"] for run in bus.call("recorder", "list_runs", ListRuns(**filters))]

    assert listed() == ["run-4", "run-3", "run-2", "run-1", "waiting"]
    assert listed(pipeline="q") == ["run-3"]
    assert listed(state=RunState.FAILED) == ["run-2"]
    assert listed(key="other") == ["run-4"]
    assert listed(since=NOON + timedelta(seconds=2), until=NOON + timedelta(seconds=3)) == ["run-3", "run-2"]
    assert listed(limit=2, offset=1) == ["run-3", "run-2"]


def test_runs_are_counted_by_pipeline_and_state(recorder: Recorder, witness: Witness, bus: Bus) -> None:
    results = [a_result(1), a_result(2), a_result(3, state=RunState.FAILED), a_result(4, pipeline="q")]
    witness.publish(*results)
    witness.wait_for_receipts(*results)

    p, q = bus.call("recorder", "stats", Stats())
    (only_q,) = bus.call("recorder", "stats", Stats(pipeline="q"))

    assert (p["pipeline"], p["runs"], p["states"]) == ("p", 3, {"failed": 1, "succeeded": 2})
    assert p["mean_duration_s"] == pytest.approx(0.25)
    assert p["last_finished_at"] == "2026-11-22T12:00:03.350000Z"
    assert only_q == q


def test_an_unknown_run_is_told_as_not_found(recorder: Recorder, bus: Bus) -> None:
    with pytest.raises(CallError, match="no run 'run-0'") as caught:
        bus.call("recorder", "show_run", ShowRun(run_id="run-0"))

    assert caught.value.code == CallCode.NOT_FOUND


def test_a_recorder_that_is_killed_again_and_again_records_and_counts_every_result_once(
    recorder: Recorder, witness: Witness
) -> None:
    results = [a_result(number) for number in range(1000)]

    for start in range(0, 1000, 200):
        witness.publish(*results[max(0, start - 100) : start + 200])
        recorder.wait_for_row(f"run-{start}")
        recorder.end(signal.SIGKILL)
        recorder.let_lease_run_out()
        recorder.start()

    witness.wait_for_receipts(*results)
    assert recorder.rows("SELECT count(*), count(DISTINCT run_id) FROM runs WHERE state = 'succeeded'") == [
        (1000, 1000)
    ]
    for period in ("hour", "day", "month"):
        assert recorder.rows("SELECT sum(runs) FROM run_tallies WHERE period = :period", period=period) == [(1000,)]


def test_a_repeated_result_gets_its_receipt_again(recorder: Recorder, witness: Witness) -> None:
    result = a_result(1)
    witness.publish(result)
    witness.wait_for_receipts(result)

    witness.publish(result)

    witness.wait_for_receipts(result, times=2)
    assert recorder.rows("SELECT run_id FROM runs") == [("run-1",)]


def test_the_first_end_of_a_run_stands_and_the_second_gets_a_receipt_too(recorder: Recorder, witness: Witness) -> None:
    witness.publish(a_result(1))
    witness.wait_for_receipts(a_result(1))

    witness.publish(a_result(1, state=RunState.FAILED))

    witness.wait_for_receipts(a_result(1), times=2)
    assert recorder.rows("SELECT state FROM runs") == [("succeeded",)]


def test_garbage_does_not_stop_the_recorder(recorder: Recorder, witness: Witness) -> None:
    deep = b"[" * 100_000
    topic = topics.result("p", "run-1")
    for payload in (b"", b"\xff\x00", b"null", b"{}", deep, encode(a_result(2)), encode(a_status("run-1"))):
        witness.send(topic, payload)
        witness.send(topics.status("p", "run-1"), payload + b"x")

    witness.publish(a_result(1))

    witness.wait_for_receipts(a_result(1))
    assert recorder.rows("SELECT run_id FROM runs") == [("run-1",)]


def test_a_burst_is_told_as_latest_a_few_times_and_its_last_run_in_the_end(
    recorder: Recorder, witness: Witness
) -> None:
    witness.publish(*(a_result(number) for number in range(300)))

    wait_for(lambda: witness.latest and witness.latest[-1].run_id == "run-299", what="the last of the burst")
    assert len(witness.latest) <= 3


def test_a_late_repeat_of_an_old_result_does_not_become_the_latest(recorder: Recorder, witness: Witness) -> None:
    witness.publish(a_result(1), a_result(2))
    wait_for(lambda: witness.latest and witness.latest[-1].run_id == "run-2")
    told = len(witness.latest)

    witness.publish(a_result(1))
    wait_for(lambda: len(witness.latest) > told, what="latest told again")

    assert witness.latest[-1].run_id == "run-2"


def test_a_locked_history_degrades_the_recorder_until_it_is_free(recorder: Recorder, witness: Witness) -> None:
    with recorder.locked():
        witness.publish(a_result(1))
        witness.wait_for_service("one", "degraded", active=True)

        assert "lock" in (witness.services["one"].reason or "")
        assert not witness.receipts

    witness.wait_for_receipts(a_result(1))
    witness.wait_for_service("one", "ready", active=True)


def test_a_history_that_was_taken_away_is_made_anew(recorder: Recorder, witness: Witness) -> None:
    recorder.take_history_away()

    witness.publish(a_result(1))

    witness.wait_for_receipts(a_result(1))
    assert recorder.rows("SELECT run_id FROM runs") == [("run-1",)]


def test_a_standby_takes_over_when_the_active_recorder_is_killed(
    recorder: Recorder, standby: Recorder, witness: Witness, bus: Bus
) -> None:
    witness.wait_for_service("one", "ready", active=True)
    witness.wait_for_service("two", "ready", active=False)
    recorder.end(signal.SIGKILL)

    witness.publish(a_result(1))

    witness.wait_for_receipts(a_result(1))
    witness.wait_for_service("two", "ready", active=True)
    assert bus.call("recorder", "show_run", ShowRun(run_id="run-1"))["state"] == "succeeded"


def test_a_recorder_without_its_lease_stops_and_leaves_its_session_to_the_next(
    recorder: Recorder, standby: Recorder, witness: Witness
) -> None:
    recorder.freeze()
    witness.publish(a_result(1))
    witness.wait_for_receipts(a_result(1))

    recorder.process.send_signal(signal.SIGCONT)

    assert recorder.ended() == 1
    witness.publish(a_result(2))
    witness.wait_for_receipts(a_result(2))


def test_a_recorder_that_is_asked_to_stop_lets_its_lease_go(recorder: Recorder, witness: Witness) -> None:
    witness.publish(a_result(1))
    witness.wait_for_receipts(a_result(1))

    code = recorder.end(signal.SIGTERM)

    assert code == 0
    assert recorder.rows("SELECT * FROM leases") == []
    witness.wait_for_service("one", "gone", active=False)


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_nobody_else_may_read_the_history(recorder: Recorder) -> None:
    folder = recorder.settings.project_dir / ".fpbus"
    modes = {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()}

    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize("url", ["nonsense", "mysql://host/db", "sqlite://", "sqlite:////proc/nowhere/history.db"])
def test_a_history_that_cannot_be_is_refused_by_name(url: str) -> None:
    with pytest.raises(SettingsError, match="FPBUS_HISTORY_URL"):
        serve(Settings(mqtt_url="mqtt://127.0.0.1:1", history_url=url, instance="one"))
