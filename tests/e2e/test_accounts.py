"""`fpbus acl`: a broker and a Redis with exactly its files, every service with its own account, and two devices."""

import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import paho.mqtt.client as paho
import pytest
import redis
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from redis.exceptions import AuthenticationError, NoPermissionError

from support.certificates import Authority
from support.commands import Commands, Done
from support.servers import Redis, Server, free_port, program
from support.stack import Process, Stack
from support.waiting import wait_for

ROLES: Final = ("recorder", "runner", "dispatcher", "scheduler")


class Fortress(NamedTuple):
    """Servers with accounts, and services that have them."""

    folder: Path
    root: str
    authority: Path
    broker: Server
    device_port: int
    redis: Redis
    stack: Stack
    services: dict[str, Process]

    def word(self, name: str) -> str:
        return (self.folder / "secrets" / name).read_text().strip()

    def topic(self, name: str) -> str:
        return f"{self.root}/{name}" if self.root else name

    def environment(self, account: str) -> dict[str, str]:
        """What a service or an operator is told."""
        return {
            "FPBUS_MQTT_URL": f"mqtts://127.0.0.1:{self.broker.port}",
            "FPBUS_MQTT_USERNAME": account,
            "FPBUS_MQTT_PASSWORD_FILE": str(self.folder / "secrets" / account),
            "FPBUS_MQTT_CA_FILE": str(self.authority),
            "FPBUS_REDIS_URL": self.redis.url,
            "FPBUS_REDIS_USERNAME": account,
            "FPBUS_REDIS_PASSWORD_FILE": str(self.folder / "secrets" / "redis" / account),
            "FPBUS_ROOT": self.root,
        }

    def operator(self, *arguments: str) -> Done:
        given = self.environment("operator") | {"FPBUS_REDIS_URL": "", "FPBUS_REDIS_PASSWORD_FILE": ""}
        return Commands(self.stack.project)(*arguments, environment=given)


class Client:
    """A plain client of the broker; `heard` are topic and body of what it got."""

    def __init__(
        self, fortress: Fortress, name: str | None, port: int | None = None, word: str = "", **more: Any
    ) -> None:
        self.heard: list[tuple[str, Any]] = []
        self.refused: dict[int, bool] = {}
        self.answer: str | None = None
        self._subscribed = threading.Event()
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=more.pop("client_id", ""),
            protocol=more.pop("protocol", MQTTProtocolVersion.MQTTv5),
            reconnect_on_failure=False,
        )
        self.client.tls_set_context(ssl.create_default_context(cafile=fortress.authority))
        if name is not None:
            self.client.username_pw_set(name, word or fortress.word(f"devices/{name}"))
        self.client.on_connect = self._on_connect
        self.client.on_message = self._on_message
        self.client.on_publish = self._on_publish
        self.client.on_subscribe = self._on_subscribe
        self.client.connect("127.0.0.1", port or fortress.device_port)
        self.client.loop_start()
        wait_for(lambda: self.answer is not None)

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self.answer = str(reason)

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        self.heard.append((message.topic, json.loads(message.payload)))

    def _on_publish(self, _client: Any, _data: Any, mid: int, reason: Any, _properties: Any) -> None:
        self.refused[mid] = reason.is_failure

    def _on_subscribe(self, *_: Any) -> None:
        self._subscribed.set()

    def subscribe(self, *filters: str) -> None:
        """Return when the broker has answered, which says nothing about being allowed to."""
        self._subscribed.clear()
        self.client.subscribe([(name, 1) for name in filters])
        assert self._subscribed.wait(10)

    def may_publish(self, topic: str, payload: Any) -> bool:
        """Publish, and tell whether the broker took it; MQTT 5 only."""
        mid = self.client.publish(topic, json.dumps(payload), 1).mid
        wait_for(lambda: mid in self.refused)
        return not self.refused[mid]

    def wait_heard(self, topic: str) -> None:
        wait_for(lambda: any(heard == topic for heard, _ in self.heard), what=topic)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture(scope="module", params=["", "plant-7"], ids=["no root", "root"])
def fortress(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fortress]:
    place, root = tmp_path_factory.mktemp("fortress"), request.param
    folder, ports = place / "access", (free_port(), free_port())
    options = ["--output", str(folder), "--root", root, "--port", str(ports[0]), "--device-port", str(ports[1])]
    made = Commands(place)("acl", "--device", "boiler-7", "--device", "pump", *options)
    assert made.code == 0, made.told
    authority = Authority(place / "authority")
    for path, name in zip(authority.issue("server"), ("server.crt", "server.key"), strict=True):
        (folder / name).write_bytes(path.read_bytes())
    redis_port = free_port()
    servers = (
        Server([program("mosquitto"), "-c", str(_as_root(folder / "mosquitto.conf"))], ports[0], folder),
        Redis(
            [
                *(program("redis-server"), "--port", str(redis_port), "--bind", "127.0.0.1", "--dir", str(place)),
                *("--save", "", "--appendonly", "yes", "--aclfile", str(folder / "redis.acl")),
            ],
            redis_port,
            place,
        ),
    )
    stack = Stack(place / "stack", "", "")
    fortress = Fortress(folder, root, authority.file, servers[0], ports[1], servers[1], stack, {})
    (stack.project / "conf" / "pipelines" / "hello.yml").unlink()
    (stack.project / "pipelines" / "hello.py").unlink()
    try:
        for server in servers:
            server.start()
        for role in ROLES:
            environment = stack.environment | fortress.environment(role)
            fortress.services[role] = Process(role, environment, stack.folder / f"{role}.log").start()
        for process in fortress.services.values():
            process.wait_ready()
        yield fortress
    finally:
        for process in reversed(fortress.services.values()):
            process.kill(15)
        for server in servers:
            server.stop()


def _as_root(config: Path) -> Path:
    """Started by root, Mosquitto would become the user `mosquitto`, who may not enter a test's folder."""
    path = config.with_name("as-root.conf")
    path.write_text(f"{config.read_text()}\nuser root\n")
    return path


# The services.


def test_an_operator_can_do_all_that_there_is_to_do(fortress: Fortress) -> None:
    ran = fortress.operator("trigger", "add", "--input", "x=5", "--run-id", "run-5", "--wait", "--format", "json")
    wait_for(lambda: _recorded(fortress, "run-5"), what="the history of the run")
    later = fortress.operator("trigger", "add", "--input", "x=6", "--run-id", "run-6", "--run-in", "1h")
    cancelled = fortress.operator("runs", "cancel", "run-6")
    watched = fortress.operator("watch", "run-5")
    scheduled = fortress.operator(
        "pipeline", "schedule", "add", "--interval", "1s", "--inputs", '{"x": 9}', "--schedule-id", "often"
    )
    listed = fortress.operator("job-queue", "show-schedules", "--format", "json")
    services = fortress.operator("ps", "--format", "json")
    health = fortress.operator("health")

    assert ran.code == 0, ran.told + fortress.stack.logs()
    assert (later.code, cancelled.code, watched.code) == (0, 0, 0), later.told + cancelled.told + watched.told
    assert scheduled.code == 0, scheduled.told
    assert "often" in listed.out, listed.told
    assert {one["role"] for one in json.loads(services.out)["services"]} == set(ROLES)
    assert len(json.loads(services.out)["workers"]) == 1
    assert health.code == 0, health.told
    wait_for(lambda: 9 in fortress.stack.executions(), 30, "a run of the schedule")
    assert _denied(fortress) == []


def _recorded(fortress: Fortress, run_id: str) -> bool:
    done = fortress.operator("runs", "show", run_id, "--format", "json")
    return done.code == 0 and json.loads(done.out)["state"] == "succeeded"


def _denied(fortress: Fortress) -> list[str]:
    """What services say that the broker has refused them."""
    logs = [path.read_text() for path in fortress.stack.folder.glob("*.log")]
    return [line for log in logs for line in log.splitlines() if "refused" in line or "NOPERM" in line]


def test_redis_has_denied_nothing_to_the_services(fortress: Fortress) -> None:
    wait_for(lambda: fortress.operator("trigger", "add", "--input", "x=1", "--wait").code == 0)

    log = (fortress.redis.folder / "redis-server.log").read_text()
    assert "NOPERM" not in log + fortress.stack.logs().upper()


@pytest.mark.parametrize(
    ("user", "command"),
    [
        ("dispatcher", ["FLUSHALL"]),
        ("dispatcher", ["GET", "elsewhere"]),
        ("dispatcher", ["CONFIG", "GET", "*"]),
        ("dispatcher", ["ACL", "LIST"]),
        ("dispatcher", ["KEYS", "*"]),
        ("dispatcher", ["EVAL", "return 1", "0"]),
        ("runner", ["SET", "fpbus:dispatcher", "mine"]),
        ("runner", ["GET", "fpbus:deliveries"]),
        ("runner", ["HSET", "fpbus:paused", "add", "1"]),
        ("runner", ["SHUTDOWN"]),
        ("runner", ["SUBSCRIBE", "anything"]),
    ],
)
def test_redis_gives_a_service_no_more_than_it_needs(fortress: Fortress, user: str, command: list[str]) -> None:
    word = fortress.word(f"redis/{user}")
    with (
        redis.Redis.from_url(fortress.redis.url, username=user, password=word) as client,
        pytest.raises(NoPermissionError),
    ):
        client.execute_command(*command)


def test_redis_lets_in_nobody_else(fortress: Fortress) -> None:
    with (
        redis.Redis.from_url(fortress.redis.url) as client,
        pytest.raises(AuthenticationError),
    ):
        client.ping()


def test_messages_wait_for_a_service_while_the_broker_is_killed(fortress: Fortress) -> None:
    """With accounts for each listener, a session has to find its own again when the broker comes back."""
    device = Client(fortress, "pump")
    fortress.services["dispatcher"].kill()
    device.client.publish(fortress.topic("pipelines/add/run"), '{"run_id": "waiting-70", "inputs": {"x": 70}}', 1)
    wait_for((fortress.folder / "data" / "mosquitto.db").exists)
    wait_for(lambda: b"waiting-70" in (fortress.folder / "data" / "mosquitto.db").read_bytes(), 20)
    device.close()
    fortress.broker.kill()
    fortress.broker.start()
    fortress.services["dispatcher"].start().wait_ready()

    wait_for(lambda: 70 in fortress.stack.executions(), 60, "the run that waited")


# Devices.


@pytest.fixture
def boiler(fortress: Fortress) -> Iterator[Client]:
    made = Client(fortress, "boiler-7")
    yield made
    made.close()


@pytest.fixture
def pump(fortress: Fortress) -> Iterator[Client]:
    made = Client(fortress, "pump")
    yield made
    made.close()


def test_a_device_is_answered_and_no_other_device_hears_it(fortress: Fortress, boiler: Client, pump: Client) -> None:
    answers = fortress.topic("devices/boiler-7/answers")
    boiler.subscribe(answers)
    pump.subscribe("#", fortress.topic("devices/#"), answers, fortress.topic("pipelines/#"), fortress.topic("fpbus/#"))
    for number in range(3):
        boiler.may_publish(
            fortress.topic("pipelines/add/run"), {"run_id": f"b-{number}", "inputs": {"x": 3}, "reply_to": answers}
        )

    wait_for(lambda: len(boiler.heard) == 3, 30, "the answers")
    assert {body["state"] for _, body in boiler.heard} == {"succeeded"}
    assert pump.may_publish(fortress.topic("devices/pump/own"), {"after": "all that"})
    wait_for(lambda: pump.heard)
    assert {topic for topic, _ in pump.heard} == {fortress.topic("devices/pump/own")}


FORBIDDEN: Final = [
    "fpbus/call/dispatcher/submit",
    "fpbus/call/recorder/list_runs",
    "fpbus/call/runner/cancel",
    "fpbus/recorded",
    "fpbus/services/dispatcher/t/status",
    "fpbus/reply/fpbus-scheduler-t",
    "pipelines/add/runs/x/status",
    "pipelines/add/runs/x/result",
    "pipelines/add/latest",
    "pipelines/add/schema",
    "pipelines/add/rejected",
    "devices/pump/answers",
    "devices/boiler-7",
    "elsewhere",
    "$SYS/broker/version",
]


def test_a_device_may_say_nothing_else(fortress: Fortress, boiler: Client) -> None:
    taken = [name for name in FORBIDDEN if boiler.may_publish(fortress.topic(name), {})]

    # Mosquitto lets a topic without the last level pass for `devices/boiler-7/#`, as MQTT has it.
    assert taken == ["devices/boiler-7"]


MAY_SAY: Final = {
    "operator": {"pipelines/none/run"},
    "boiler-7": {"pipelines/none/run", "devices/boiler-7/a"},
    "pump": {"pipelines/none/run", "devices/pump/a"},
}
MAY_HEAR: Final = {
    "operator": {"pipelines/none/run", "pipelines/none/latest", "fpbus/recorded"},
    "boiler-7": {"devices/boiler-7/a"},
    "pump": {"devices/pump/a"},
}
TOPICS: Final = (
    "pipelines/none/run",
    "pipelines/none/latest",
    "fpbus/recorded",
    "fpbus/reply/somebody",
    "fpbus/services/runner/u/status",
    "devices/boiler-7/a",
    "devices/pump/a",
    "devices",
)


@pytest.mark.parametrize("protocol", [MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5])
def test_what_is_delivered_is_what_the_table_says(fortress: Fortress, protocol: MQTTProtocolVersion) -> None:
    ends = {"operator": "fpbus/pressure", "boiler-7": "devices/boiler-7/end", "pump": "devices/pump/end"}
    clients = {name: Client(fortress, name, protocol=protocol) for name in ("boiler-7", "pump")}
    clients["operator"] = Client(
        fortress, "operator", fortress.broker.port, fortress.word("operator"), protocol=protocol
    )
    ender = Client(fortress, "dispatcher", fortress.broker.port, fortress.word("dispatcher"), client_id="ender")
    for client in clients.values():
        client.subscribe(*(fortress.topic(name) for name in (*TOPICS, *ends.values())))

    for name, client in clients.items():
        for topic in TOPICS:
            client.may_publish(fortress.topic(topic), {"by": name})
    for topic in ends.values():
        assert ender.may_publish(fortress.topic(topic), {"by": "ender"})
    for name, client in clients.items():
        client.wait_heard(fortress.topic(ends[name]))

    heard = {
        (body["by"], topic, name)
        for name, client in clients.items()
        for topic, body in client.heard
        if body.get("by") in clients
    }
    for client in (*clients.values(), ender):
        client.close()
    assert heard == {
        (speaker, fortress.topic(topic), listener)
        for speaker, said in MAY_SAY.items()
        for listener, listened in MAY_HEAR.items()
        for topic in said & listened
    }


def test_no_password_is_in_a_log_or_in_what_a_command_says(fortress: Fortress) -> None:
    done = fortress.operator("--log-level", "DEBUG", "ps", "--format", "json")
    words = [path.read_text().strip() for path in (fortress.folder / "secrets").rglob("*") if path.is_file()]

    said = done.out + done.told + "".join(path.read_text() for path in fortress.stack.folder.glob("*.log"))

    assert "ready" in said
    assert [word for word in words if word in said] == []


def test_without_its_root_nothing_is_allowed(fortress: Fortress, boiler: Client) -> None:
    if fortress.root:
        assert not boiler.may_publish("pipelines/add/run", {})
        assert not boiler.may_publish("devices/boiler-7/own", {})


@pytest.mark.parametrize("protocol", [MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5])
def test_nobody_gets_in_without_an_account_of_that_listener(fortress: Fortress, protocol: MQTTProtocolVersion) -> None:
    attempts = [
        Client(fortress, None, protocol=protocol),
        Client(fortress, None, fortress.broker.port, protocol=protocol),
        Client(fortress, "boiler-7", word="a guess", protocol=protocol),
        Client(fortress, "boiler-7", fortress.broker.port, protocol=protocol),
        Client(fortress, "dispatcher", word=fortress.word("dispatcher"), protocol=protocol),
    ]
    for attempt in attempts:
        attempt.close()

    assert {attempt.answer for attempt in attempts} == {"Not authorized"}


def test_a_device_cannot_take_over_the_session_of_a_service(fortress: Fortress) -> None:
    rival = Client(fortress, "pump", client_id="fpbus-dispatcher")

    ran = fortress.operator("trigger", "add", "--input", "x=4", "--wait")

    rival.close()
    assert ran.code == 0, ran.told
    popen = fortress.services["dispatcher"].popen
    assert popen is not None
    assert popen.poll() is None


def test_services_may_not_do_each_others_work(fortress: Fortress) -> None:
    allowed = {
        "recorder": ["fpbus/recorded", "pipelines/add/latest"],
        "scheduler": ["pipelines/add/run"],
        "runner": ["pipelines/add/runs/x/log"],
        "operator": ["pipelines/add/run"],
    }
    tried = [*FORBIDDEN[1:6], *FORBIDDEN[7:9], "pipelines/add/run", "pipelines/add/runs/x/log"]
    for name, own in allowed.items():
        client = Client(fortress, name, fortress.broker.port, fortress.word(name), client_id=f"test-{name}")
        more = {
            "runner": {"pipelines/add/runs/x/result"},
            "operator": {"fpbus/call/recorder/list_runs", "fpbus/call/runner/cancel"},
        }.get(name, set())
        replies = set() if name == "operator" else {"fpbus/reply/fpbus-scheduler-t"}

        taken = {topic for topic in tried if client.may_publish(fortress.topic(topic), {"inputs": {"x": "no"}})}

        client.close()
        assert taken == {topic for topic in own if topic in tried} | more | replies, name


def test_a_command_without_the_right_to_ask_is_told_so(fortress: Fortress) -> None:
    given = fortress.environment("recorder") | {"FPBUS_REDIS_PASSWORD_FILE": ""}

    done = Commands(fortress.stack.project)("runs", "list", environment=given)

    assert done.code == 5
    call = fortress.topic("fpbus/call/recorder/list_runs")
    assert f"The broker does not let this account publish on {call}." in done.told


# The files.


def test_a_second_time_adds_a_device_and_changes_no_password(tmp_path: Path) -> None:
    fpbus = Commands(tmp_path)
    fpbus("acl", "--device", "boiler-7")
    folder = tmp_path / "access"
    before = {path: path.read_text() for path in (folder / "secrets").rglob("*") if path.is_file()}

    fpbus("acl", "--device", "pump")

    after = {path: path.read_text() for path in (folder / "secrets").rglob("*") if path.is_file()}
    assert {path: after[path] for path in before} == before
    assert set(after) - set(before) == {folder / "secrets" / "devices" / "pump"}
    accounts = (folder / "devices.passwords").read_text().splitlines()
    assert [line.split(":")[0] for line in accounts] == ["boiler-7", "pump"]
    assert not any(word.strip() in (folder / "passwords").read_text() for word in after.values())


def test_the_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    Commands(tmp_path)("acl", "--device", "boiler-7")

    loose = [path for path in (tmp_path / "access").rglob("*") if path.stat().st_mode & 0o077]

    assert loose == []


@pytest.mark.parametrize("name", ["", "a/b", "+", "#", "a b", "-x", ".", "..", "fpbus-dispatcher", "a:b", "a\nb", "é"])
def test_a_name_that_no_device_can_have_is_refused_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    done = Commands(tmp_path)("acl", f"--device={name}")

    assert done.code == 2, done.told
    assert "cannot name a device" in done.told
    assert not (tmp_path / "access").exists()


def test_mosquittos_own_program_makes_the_same_kind_of_password(tmp_path: Path) -> None:
    Commands(tmp_path)("acl")
    theirs = tmp_path / "theirs"
    subprocess.run([program("mosquitto_passwd"), "-b", "-c", str(theirs), "ann", "word"], check=True)

    shapes = [
        [len(part) for part in path.read_text().splitlines()[0].split(":")[1].split("$")]
        for path in (theirs, tmp_path / "access" / "passwords")
    ]

    assert shapes[0] == shapes[1]
