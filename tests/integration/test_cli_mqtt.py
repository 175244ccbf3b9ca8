"""`fpbus mqtt`: listeners against a real broker, and with --as-job a real system."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from fpbus.project import make_project
from support.servers import Broker, Redis, program
from support.stack import Stack
from support.waiting import wait_for

HEARD = """
def on_message(client, userdata, message):
    print("heard", message.payload.decode())
    if message.payload == b"bad":
        raise ValueError("too bad")
"""
CONFIG = "def built(payload, topic):\n    return {'scale': topic.rpartition('/')[2]}\n"
SCALED = """
from hamilton.function_modifiers import config


@config.when(scale="double")
def scaled__double(x: int) -> int:
    return 2 * x


@config.when_not(scale="double")
def scaled__plain(x: int) -> int:
    return x
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    make_project(folder, "listening")
    (folder / "pipelines" / "scaled.py").write_text(SCALED)
    (folder / "conf" / "pipelines" / "scaled.yml").write_text("run:\n  final_vars: [scaled]\n")
    (folder / "hooks").mkdir(exist_ok=True)
    (folder / "hooks" / "settings.py").write_text(CONFIG)
    (folder / "heard.py").write_text(HEARD)
    return folder


@pytest.fixture
def device(mosquitto: Broker) -> Iterator[paho.Client]:
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", mosquitto.port)
    client.loop_start()
    yield client
    client.disconnect()
    client.loop_stop()


def listen(folder: Path, broker: Broker, *arguments: str) -> "subprocess.Popen[str]":
    """Start a listener, and wait until it hears."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FPBUS_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "fpbus", "mqtt", *arguments, "--format", "json", "--timeout", "20"],
        cwd=folder,
        env=clean | {"FPBUS_MQTT_URL": broker.url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith("Listening to "), line + process.stderr.read()
    return process


def told_by(process: "subprocess.Popen[str]") -> list[dict[str, object]]:
    out, err = process.communicate(timeout=50)
    assert process.returncode == 0, err
    return [json.loads(line) for line in out.splitlines()]


def test_each_message_is_a_run_and_a_bad_one_ends_nothing(
    project: Path, mosquitto: Broker, device: paho.Client
) -> None:
    arguments = ("run_pipeline_on_message", "scaled", "plant/+", "--config-hook", "settings.built", "--qos", "1")
    listener = listen(project, mosquitto, *arguments, "--host", "127.0.0.1", "--port", str(mosquitto.port), "--count=4")
    for level, payload in (("double", '{"x": 4}'), ("plain", '{"x": 4}'), ("plain", "{"), ("plain", "{}")):
        device.publish(f"plant/{level}", payload, 1).wait_for_publish(10)

    told = told_by(listener)

    assert [each["state"] for each in told] == ["succeeded", "succeeded", "refused", "failed"]
    assert [each.get("outputs") for each in told[:2]] == [{"scaled": 8}, {"scaled": 4}]


def test_a_function_hears_each_message(project: Path, mosquitto: Broker, device: paho.Client) -> None:
    listener = listen(project, mosquitto, "start-listener", "heard", "plant/#", "--count", "2")
    for payload in ("bad", "good"):
        device.publish("plant/a/b", payload, 2).wait_for_publish(10)

    assert told_by(listener) == [
        {"topic": "plant/a/b", "state": "failed", "error": "ValueError: too bad"},
        {"topic": "plant/a/b", "state": "handled"},
    ]


def test_what_was_not_acknowledged_comes_again(project: Path, mosquitto: Broker, device: paho.Client) -> None:
    (project / "heard.py").write_text("import os\ndef on_message(client, userdata, message):\n    os._exit(9)\n")
    arguments = ("start-listener", "heard", "plant/a", "--qos=1", "--no-clean-session", "--client-id=one", "--count=1")
    dying = listen(project, mosquitto, *arguments)
    device.publish("plant/a", "1", 1).wait_for_publish(10)
    dying.communicate(timeout=50)
    (project / "heard.py").write_text(HEARD)

    assert dying.returncode == 9
    assert told_by(listen(project, mosquitto, *arguments)) == [{"topic": "plant/a", "state": "handled"}]


def test_as_job_the_bus_accepts_each_message(
    tmp_path: Path, mosquitto: Broker, redis_server: Redis, device: paho.Client
) -> None:
    stack = Stack(tmp_path / "stack", mosquitto.url, redis_server.url).start("recorder", "dispatcher")
    try:
        arguments = ("run-pipeline-on-message", "add", "plant/a", "--as-job", "--qos=1", "--count=2")
        listener = listen(stack.project, mosquitto, *arguments)
        for _ in range(2):
            device.publish("plant/a", '{"x": 4}', 1).wait_for_publish(10)
        told = told_by(listener)
    finally:
        stack.stop()

    assert [each["state"] for each in told] == ["accepted", "accepted"]
    assert len({each["run_id"] for each in told}) == 2


def wait_said(process: "subprocess.Popen[str]", words: str) -> None:
    """Read what a listener says until it says this."""
    assert process.stderr is not None
    for line in process.stderr:
        if words in line:
            return
    raise AssertionError(f"it ended without saying {words!r}")


def test_a_listener_is_there_again_when_its_broker_is(project: Path, mosquitto: Broker, device: paho.Client) -> None:
    listener = listen(project, mosquitto, "start-listener", "heard", "plant/#", "--qos=1", "--count=2")
    device.publish("plant/a", "1", 1).wait_for_publish(10)

    mosquitto.kill()
    wait_said(listener, "Connection lost")
    mosquitto.start()
    wait_said(listener, "Connected again.")
    wait_for(device.is_connected, what="the device to be back")
    device.publish("plant/b", "2", 1).wait_for_publish(20)

    assert [each["topic"] for each in told_by(listener)] == ["plant/a", "plant/b"]


def test_as_job_a_message_that_comes_again_is_the_same_run(
    tmp_path: Path, mosquitto: Broker, redis_server: Redis, device: paho.Client
) -> None:
    stack = Stack(tmp_path / "stack", mosquitto.url, redis_server.url).start("recorder", "dispatcher", "runner")
    asked = ("run-pipeline-on-message", "add", "plant/a", "--as-job", "--qos=1", "--no-clean-session", "--count=1")
    arguments = (*asked, "--client-id=one")
    try:
        dying = listen(stack.project, mosquitto, *arguments)
        os.kill(stack.processes["dispatcher"].pid, signal.SIGSTOP)
        device.publish("plant/a", '{"x": 4}', 1).wait_for_publish(10)
        wait_said(dying, "Asking again.")
        dying.kill()
        dying.communicate()
        os.kill(stack.processes["dispatcher"].pid, signal.SIGCONT)

        (told,) = told_by(listen(stack.project, mosquitto, *arguments))
        stack.wait_records(1)
    finally:
        stack.stop()

    assert told["state"] == "accepted"
    assert len(stack.records()) == 1
    assert stack.executions() == [4]


def test_who_has_the_password_hears_and_others_are_told(project: Path, mosquitto: Broker) -> None:
    accounts, config = project / "accounts", Path(mosquitto.command[-1])
    subprocess.run([program("mosquitto_passwd"), "-b", "-c", str(accounts), "ann", "hidden word"], check=True)
    config.write_text(config.read_text().replace("allow_anonymous true", f"password_file {accounts}"))
    mosquitto.kill()
    mosquitto.start()
    place = ("--host=127.0.0.1", f"--port={mosquitto.port}", "--username=ann")

    refused = subprocess.run(
        [sys.executable, "-m", "fpbus", "mqtt", "start-listener", "heard", "plant/#", *place, "--password=wrong"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    listener = listen(project, mosquitto, "start-listener", "heard", "plant/#", *place, "--password=hidden word")
    listener.send_signal(signal.SIGINT)
    _, said = listener.communicate(timeout=50)

    assert refused.returncode == 5, refused.stderr
    assert "does not let in the user 'ann'" in refused.stderr
    assert "hidden" not in refused.stderr + said
