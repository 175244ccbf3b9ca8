"""Eight secrets in environment, files, URLs and keys: none is ever told, whatever happens."""

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import paho.mqtt.client as paho
import psutil
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from support.commands import Commands
from support.otlp import Receiver
from support.servers import Broker, Redis, free_port, mosquitto, program, redis_server
from support.stack import Stack
from support.waiting import wait_for

CANARIES: Final = [f"canary-{number}-{number * 4711}" for number in range(1, 9)]
IN_BROKER_URL, IN_REDIS_FILE, IN_ENVIRONMENT, IN_FILE, API_KEY, HEADER, IN_URL, IN_PROFILE = CANARIES

PROJECT: Final = f"""
name: secretive
adapter:
  hamilton_tracker: {{username: ann, api_key: {API_KEY}}}
  opentelemetry: {{host: 127.0.0.1, port: PORT, headers: {{authorization: "${{HEADER}}"}}}}
  mlflow: {{tracking_uri: "http://ann:{IN_URL}@127.0.0.1:1"}}
job_queue:
  profiles:
    other: {{backend: {{host: 127.0.0.1, port: 1, username: ann, password: {IN_PROFILE}}}}}
"""
MODULE: Final = """
import os
from pathlib import Path


def token() -> str:
    return os.environ["TOKEN"]


def key() -> str:
    return (Path(__file__).parents[1] / "conf" / "key.txt").read_text()


def answer(token: str, key: str, x: int) -> float:
    assert token
    assert key
    return 1 / x
"""
CONFIG: Final = "run: {final_vars: [answer], max_retries: 0, with_adapter: {opentelemetry: true}}\n"


class Ear:
    """Hears every message on the broker."""

    def __init__(self, broker: Broker, password: str) -> None:
        self.heard: list[bytes] = []
        self.topics: list[str] = []
        subscribed = threading.Event()
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        self.client.username_pw_set("ann", password)
        self.client.on_connect = self._on_connect
        self.client.on_subscribe = lambda *_: subscribed.set()  # pyright: ignore[reportUnknownLambdaType]
        self.client.on_message = self._hear
        self.client.reconnect_delay_set(1, 1)
        self.client.connect("127.0.0.1", broker.port)
        self.client.loop_start()
        assert subscribed.wait(10)

    def _on_connect(self, client: paho.Client, *_: Any) -> None:
        client.subscribe("#", 1)

    def _hear(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        self.topics.append(message.topic)
        self.heard.append(message.topic.encode() + b" " + message.payload)

    def run(self, run_id: str, body: str) -> None:
        """Ask for a run, and wait for what comes of it."""
        self.client.publish("pipelines/reads/run", body, 1)
        wait_for(lambda: f"pipelines/reads/runs/{run_id}/result" in self.topics, 60, f"the result of {run_id}")

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = mosquitto(tmp_path / "mosquitto")
    accounts = tmp_path / "mosquitto" / "passwords"
    subprocess.run([program("mosquitto_passwd"), "-b", "-c", str(accounts), "ann", IN_BROKER_URL], check=True)
    config = Path(made.command[-1])
    locked = f"allow_anonymous false\npassword_file {accounts}"
    config.write_text(config.read_text().replace("allow_anonymous true", locked))
    yield made.start()
    made.stop()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    made = redis_server(tmp_path / "redis")
    made.command += ["--requirepass", IN_REDIS_FILE]
    yield made.start()
    made.stop()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver(free_port())
    yield made
    made.server.stop(None).wait()


@pytest.fixture
def secretive(tmp_path: Path, broker: Broker, redis: Redis, receiver: Receiver) -> Iterator[Stack]:
    """A project with a secret in each place that may hold one."""
    url = broker.url.replace("mqtt://", f"mqtt://ann:{IN_BROKER_URL}@")
    stack = Stack(tmp_path / "stack", url, redis.url)
    (stack.project / "conf" / "project.yml").write_text(PROJECT.replace("PORT", str(receiver.port)))
    stack.add_pipeline("reads", MODULE, CONFIG)
    (stack.project / "conf" / "key.txt").write_text(IN_FILE)
    password = tmp_path / "redis_password"
    password.write_text(IN_REDIS_FILE)
    stack.environment |= {"FPBUS_REDIS_PASSWORD_FILE": str(password), "TOKEN": IN_ENVIRONMENT, "HEADER": HEADER}
    yield stack
    stack.stop()


def _found(where: str, said: bytes) -> list[str]:
    return [f"{canary} in {where}" for canary in CANARIES if canary.encode() in said]


def _in_files(*folders: Path, but: tuple[str, ...] = ()) -> list[str]:
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file() and file.name not in but]
    return [found for file in files for found in _found(str(file), file.read_bytes())]


def test_no_secret_is_told(tmp_path: Path, secretive: Stack, broker: Broker, redis: Redis, receiver: Receiver) -> None:
    ear = Ear(broker, IN_BROKER_URL)
    secretive.start()
    try:
        ear.run("good", '{"run_id": "good", "inputs": {"x": 2}}')
        ear.run("bad", '{"run_id": "bad", "inputs": {"x": 0}}')
        wait_for(lambda: "pipelines/reads/schema" in ear.topics, 60, "what the dispatcher holds inputs against")
        ear.client.publish("pipelines/reads/run", '{"inputs": {"x": "two"}}', 1)
        ear.client.publish("pipelines/reads/run", "{", 1)
        wait_for(lambda: ear.topics.count("pipelines/reads/rejected") == 2, 60, "two rejections")

        broker.stop()
        redis.stop()
        wait_for(lambda: secretive.logs().count("Connection refused"), 30, "a log of what is away")
        redis.start()
        broker.start()
        wait_for(ear.client.is_connected, 20, "the broker")
        ear.run("late", '{"run_id": "late", "inputs": {"x": 4}}')
        secretive.wait_records(3)

        fpbus = Commands(secretive.project)
        fpbus.environment |= {name: value for name, value in secretive.environment.items() if name != "FPBUS_PROJECT"}
        told = b""
        for command in (
            "runs list --format json",
            "runs show bad",
            "pipeline show-summary",
            'pipeline run reads --inputs {"x":0}',
            'pipeline run reads --inputs {"x":1} --with-adapter mlflow',
            "doctor",
            "job-queue show-queues",
            "job-queue show-queues --name other",
            "asyncapi",
        ):
            done = fpbus(*command.split())
            told += f"{command}: {done.code}\n{done.out}\n{done.told}\n".encode()
        refused = fpbus(
            "runs", "list", environment={"FPBUS_MQTT_URL": broker.url.replace("//", f"//ann:x{CANARIES[1]}@")}
        )
        told += (refused.out + refused.told).encode()
        lines = [" ".join(psutil.Process(one.pid).cmdline()) for one in secretive.processes.values()]
    finally:
        secretive.stop()
        ear.close()

    assert b"ZeroDivisionError" in told
    assert any(b"good" in message for message in ear.heard)
    assert receiver.spans
    assert receiver.headers["authorization"] == HEADER, "the one who is meant to know it does"
    found = _found("what commands tell", told)
    found += _found("messages", b"\n".join(ear.heard))
    found += _found("spans", b"\n".join(request.SerializeToString() for request in receiver.requests))
    found += _found("command lines", "\n".join(lines).encode())
    found += _in_files(tmp_path / "redis")
    found += _in_files(secretive.folder, but=("key.txt", "project.yml"))
    assert not found, found
