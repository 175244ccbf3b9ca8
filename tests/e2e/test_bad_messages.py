"""What is no run request is refused in words, harms nobody, and the next good message runs."""

import contextlib
import json
import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from fpbus.schemas import OVERRIDES
from support import servers
from support.device import Device
from support.stack import Stack
from support.waiting import wait_for

#: Writes down every path that the process opens: what a hostile name must never become.
SPY_PY = """
import os, sys

def note(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        os.write(SPY, (arguments[0] + "\\n").encode("utf-8", "replace"))

SPY = os.open(os.environ["SPY_FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
sys.addaudithook(note)
"""


class System:
    """A running system and two devices, one for each MQTT version."""

    def __init__(self, stack: Stack, url: str, spied: Path) -> None:
        self.stack = stack
        self.url = url
        self.device = Device(url)
        self.device_5 = Device(url, protocol=MQTTProtocolVersion.MQTTv5)
        self.spied = spied

    def refuse(self, topic: str, payload: bytes) -> dict[str, Any]:
        """Publish something bad on MQTT 3.1.1 and on 5, and return its rejection, once a good message has run."""
        before = len(self.rejections(payload))
        for device in (self.device, self.device_5):
            device.publish(topic, payload)
        wait_for(lambda: len(self.rejections(payload)) >= before + 2, what=f"both rejections of {payload[:80]!r}")
        self.check_alive()
        *_, first, second = self.rejections(payload)
        assert len(self.rejections(payload)) == before + 2
        assert first | {"at": None} == second | {"at": None}
        return second

    def rejections(self, payload: bytes) -> list[dict[str, Any]]:
        digest = blake2b(payload, digest_size=16).hexdigest()
        return [one for one in self.device.rejections() if one["digest"] == digest]

    def check_alive(self) -> None:
        run_id = uuid.uuid4().hex
        self.device.run("add", {"run_id": run_id, "inputs": {"x": 1}})
        assert self.device.wait_result(run_id)["state"] == "succeeded"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("bad")
    broker, redis = servers.mosquitto(folder / "mosquitto").start(), servers.redis_server(folder / "redis").start()
    stack = Stack(folder / "stack", broker.url, redis.url)
    stack.configure("limits:\n  payload_bytes: 200000\n")
    (folder / "spy").mkdir()
    (folder / "spy" / "sitecustomize.py").write_text(SPY_PY)
    stack.environment |= {"PYTHONPATH": str(folder / "spy"), "SPY_FILE": str(folder / "opened")}
    with contextlib.ExitStack() as ending:
        for stop in (broker.stop, redis.stop, stack.stop):
            ending.callback(stop)
        stack.start()
        made = System(stack, broker.url, folder / "opened")
        ending.callback(made.device.close)
        ending.callback(made.device_5.close)
        yield made
        assert all(process.popen and process.popen.poll() is None for process in stack.processes.values())


@pytest.mark.parametrize(
    ("payload", "code", "field"),
    [
        (b"{", "invalid_payload", None),
        (b"\xff\xfe\x00", "invalid_payload", None),
        (b'{"run_id": "\xff"}', "invalid_payload", None),
        (b"[]", "invalid_payload", None),
        (b'{"inputs": {"x": NaN}}', "invalid_payload", None),
        (b'{"inputs": [1]}', "invalid_payload", "$.inputs"),
        (b'{"inputs": {}, "final_vars": "answer"}', "invalid_payload", "$.final_vars"),
        (b'{"final_vars": ["answer", 5]}', "invalid_payload", "$.final_vars[1]"),
        (b'{"priority": "urgent"}', "invalid_payload", "$.priority"),
        (b'{"not_before": "tomorrow"}', "invalid_payload", "$.not_before"),
        (b'{"not_before": "9999-12-31T23:59:59-12:00"}', "invalid_payload", "$.not_before"),
        (b'{"inputs": {"x": 18446744073709551616}}', "invalid_payload", None),
        (b'{"type": "something_else"}', "invalid_payload", "$.type"),
        (b'{"inptus": {"x": 1}}', "unknown_field", "$.inptus"),
        (b'{"inputs": {"x": ' + b"[" * 65 + b"]" * 65 + b"}}", "too_deep", None),
        (b'{"inputs": {"x": ' + b"[" * 90_000 + b"]" * 90_000 + b"}}", "too_deep", None),
        (b'{"inputs": {"x": "' + b"a" * 200_000 + b'"}}', "too_large", None),
        (b'{"expires_at": "2020-01-01T00:00:00Z"}', "expired", "$.expires_at"),
        (b'{"reply_to": "pipelines/add/run"}', "not_allowed", "$.reply_to"),
        (b'{"reply_to": "$SYS/x"}', "not_allowed", "$.reply_to"),
        (b'{"reply_to": "fpbus/call/dispatcher/submit"}', "not_allowed", "$.reply_to"),
        (b'{"reply_to": "devices/+/answers"}', "not_allowed", "$.reply_to"),
    ],
)
def test_a_bad_message_is_refused_with_code_sentence_and_field(
    system: System, payload: bytes, code: str, field: str | None
) -> None:
    rejection = system.refuse("pipelines/add/run", payload)

    assert (rejection["code"], rejection.get("field"), rejection["pipeline"]) == (code, field, "add")
    assert rejection["message"].endswith(".")
    assert rejection["size"] == len(payload)


@pytest.mark.parametrize("run_id", ["../x", "a+b", "#", "nul\0", "ünï", "a" * 65, "line\n", "", "\u202egnp"])
def test_an_illegal_run_id_is_refused_and_named(system: System, run_id: str) -> None:
    rejection = system.refuse("pipelines/add/run", json.dumps({"run_id": run_id}).encode())

    assert (rejection["code"], rejection["field"]) == ("invalid_payload", "$.run_id")


@pytest.mark.parametrize("name", OVERRIDES)
def test_a_publisher_cannot_change_how_a_pipeline_runs(system: System, name: str) -> None:
    values: dict[str, Any] = {"config": {}, "cache": True, "executor": "ray", "with_adapter": {}}
    values |= {"max_retries": 1, "retry_delay": 1, "jitter_factor": 1, "retry_exceptions": [], "timeout_s": 9}
    value = values.get(name, "DEBUG")

    rejection = system.refuse("pipelines/add/run", json.dumps({name: value}).encode())

    assert (rejection["code"], rejection["field"]) == ("not_allowed", f"$.{name}")


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "..",
        "%2e%2e%2f",
        "",
        "add/",
        " ",
        "add\ufeff",
        "\u202edda",
        "а" + "dd",  # noqa: RUF001 (a Cyrillic letter that looks like ours)
        "e\u0301tude",
        "🌡",
        "a\\b",
        "Add",
        "a" * 65,
        "x" * 60_000,
        "/".join(["deep"] * 12),
    ],
)
def test_an_illegal_name_is_refused_and_opens_nothing(system: System, name: str) -> None:
    payload = json.dumps({"run_id": uuid.uuid4().hex}).encode()

    rejection = system.refuse(f"pipelines/{name}/run", payload)

    assert rejection["code"] == "illegal_name"
    assert ("fpbus/rejected", rejection) in system.device.all()
    assert "pipeline" not in rejection
    project = str(system.stack.project)
    opened = [path for path in system.spied.read_text(errors="replace").splitlines() if project in path]
    assert all(Path(os.path.normpath(path)).is_relative_to(project) for path in opened)
    assert not [path for path in opened if name.strip("/. ") and name in path and name != "add/"]


@pytest.mark.parametrize("name", ["add\n", "nul\0", "bell\a", "a+b", "#", "\ud800"])
def test_a_name_that_no_broker_takes_harms_nobody(system: System, name: str) -> None:
    rude = Device(system.url)

    with contextlib.suppress(ValueError):  # paho refuses some of them itself
        rude.publish(f"pipelines/{name}/run", b"{}")

    system.check_alive()
    rude.close()


def test_an_unknown_pipeline_is_refused_on_the_common_topic(system: System) -> None:
    rejection = system.refuse("pipelines/nobody/run", b'{"key": "unknown"}')

    assert rejection["code"] == "unknown_pipeline"
    assert ("fpbus/rejected", rejection) in system.device.all()


def test_the_same_id_with_another_request_is_a_conflict(system: System) -> None:
    run_id = uuid.uuid4().hex
    system.device.run("add", {"run_id": run_id, "inputs": {"x": 1}})
    system.device.wait_result(run_id)

    rejection = system.refuse("pipelines/add/run", json.dumps({"run_id": run_id, "inputs": {"x": 2}}).encode())

    assert (rejection["code"], rejection["field"], rejection["run_id"]) == ("conflict", "$.run_id", run_id)


def test_a_repeat_that_comes_after_its_time_gets_the_answer_that_the_first_one_got(system: System) -> None:
    run_id = uuid.uuid4().hex
    expires_at = datetime.now(UTC) + timedelta(seconds=1.5)
    request = {"run_id": run_id, "inputs": {"x": 1}, "expires_at": expires_at.isoformat()}
    system.device.run("add", request)
    system.device.wait_result(run_id)
    wait_for(lambda: datetime.now(UTC) > expires_at, what="the time of its expiry")

    system.device.run("add", request)

    _, again = wait_for(
        lambda: (heard := system.device.messages(ending=f"{run_id}/status"))[1:] and heard, what="the second answer"
    )
    assert (again["state"], again["duplicate"], again["run_state"]) == ("accepted", True, "succeeded")


def test_a_retained_request_is_refused_and_never_runs(stack: Stack, device: Device) -> None:
    payload = json.dumps({"run_id": "retained", "inputs": {"x": 5}}).encode()
    device.publish("pipelines/add/run", payload, retain=True).wait_for_publish(5)

    stack.start()
    rejection = device.wait_rejection(blake2b(payload, digest_size=16).hexdigest())
    stack.restart("dispatcher")
    device.run("add", {"run_id": "good", "inputs": {"x": 1}})
    device.wait_result("good")

    assert rejection["code"] == "retained"
    assert stack.executions() == [1]


def test_message_pack_is_read_when_the_content_type_says_so(system: System) -> None:
    run_id = uuid.uuid4().hex
    payload = msgspec.msgpack.encode({"run_id": run_id, "inputs": {"x": 4}})

    system.device_5.publish("pipelines/add/run", payload, ContentType="application/msgpack")

    assert system.device.wait_result(run_id)["outputs"]["answer"]["json"] == 9


def test_an_answer_goes_where_mqtt_5_asks_for_it_with_its_correlation(system: System) -> None:
    heard: list[Any] = []
    system.device_5.client.message_callback_add("devices/+/answers", lambda _client, _data, one: heard.append(one))
    system.device_5.client.subscribe("devices/+/answers", 1)
    where: dict[str, Any] = {"ResponseTopic": "devices/b7/answers", "CorrelationData": b"call-7"}

    system.device_5.publish("pipelines/add/run", {"inputs": {"x": 3}}, **where)
    system.device_5.publish("pipelines/add/run", {"inptus": {}}, **where)

    wait_for(lambda: len(heard) == 2, what="both answers")
    by_type = {json.loads(one.payload)["type"]: one for one in heard}
    assert set(by_type) == {"run_result", "rejection"}
    assert {one.properties.CorrelationData for one in heard} == {b"call-7"}


@pytest.mark.parametrize("version", ["device", "device_5"])
def test_an_answer_goes_where_the_body_asks_for_it(system: System, version: str) -> None:
    device: Device = getattr(system, version)
    topic = f"devices/{uuid.uuid4().hex}/answers"
    system.device.client.subscribe(topic, 1)
    request = {"run_id": uuid.uuid4().hex, "inputs": {"x": 3}, "reply_to": topic}

    device.run("add", request)
    device.wait_result(str(request["run_id"]))
    device.run("add", request | {"inputs": {"x": 4}})
    device.run("add", {"reply_to": topic, "timeout_s": 5})
    device.run("add", {"reply_to": topic, "expires_at": "2020-01-01T00:00:00Z"})

    answers = wait_for(
        lambda: (heard := system.device.messages(ending=topic))[3:] and heard, what="the result and three rejections"
    )
    assert answers[0]["type"] == "run_result"
    assert {one["code"] for one in answers[1:]} == {"conflict", "not_allowed", "expired"}


def test_a_trace_goes_through_message_job_and_result(system: System) -> None:
    trace = uuid.uuid4().hex
    in_body, in_property = uuid.uuid4().hex, uuid.uuid4().hex
    traceparent = f"00-{trace}-00f067aa0ba902b7-01"

    system.device.run("add", {"run_id": in_body, "inputs": {"x": 1}, "traceparent": traceparent})
    system.device_5.publish(
        "pipelines/add/run", {"run_id": in_property, "inputs": {"x": 1}}, UserProperty=("traceparent", traceparent)
    )

    for run_id in (in_body, in_property):
        assert system.device.wait_result(run_id)["traceparent"].split("-")[1] == trace
        status = system.device.messages(ending=f"{run_id}/status")[0]
        assert status["traceparent"].split("-")[1] == trace
        assert status["traceparent"] != traceparent


def test_garbage_on_the_call_topics_stops_nobody(system: System) -> None:
    for payload in (b"", b"\xff", b"{", b"[" * 5000, b'{"call_id": 5}', b'{"pipeline": "../x"}', b'{"run_id": "?"}'):
        for verb in ("submit", "cancel", "queues", "nonsense", "\u202e"):
            system.device.publish(f"fpbus/call/dispatcher/{verb}", payload)
        system.device.publish("fpbus/recorded", payload)

    system.check_alive()


def test_a_thousand_bad_messages_between_good_ones_harm_none_of_them(system: System) -> None:
    for number in range(200):
        system.device.run("add", {"run_id": f"good-{number}", "inputs": {"x": number}})
        for payload in (b"{", os.urandom(40), b'{"x": 1}', b'{"inputs": ' * 60, b'{"run_id": "good-0", "key": "k"}'):
            system.device.publish("pipelines/add/run", payload)

    for number in range(200):
        assert system.device.wait_result(f"good-{number}")["outputs"]["answer"]["json"] == number * 2 + 1
