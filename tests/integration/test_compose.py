"""The folder `compose/` as it is delivered: the file against its schema, both servers with exactly its settings.

No Docker is needed. What it would do is done by hand: variables are filled in, the servers' commands are run as they
stand in compose.yaml, and only the places of files and the listener's address are replaced. Three parts, in one file
because they read the same folder: compose.yaml, Mosquitto, Redis.
"""

import json
import os
import re
import subprocess
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import jsonschema
import psutil
import pytest
import redis
import yaml
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from redis.backoff import NoBackoff
from redis.exceptions import OutOfMemoryError
from redis.retry import Retry

from support.servers import Server, free_port, program
from support.waiting import wait_for

ROOT: Final = Path(__file__).resolve().parents[2]
COMPOSE: Final = ROOT / "compose"
SCHEMA: Final = Path(__file__).with_name("data") / "compose-spec.json"

ROLES: Final = ("dispatcher", "runner", "recorder", "scheduler")
# contract.md, "Processes".
SETTINGS: Final = {
    "FPBUS_MQTT_URL",
    "FPBUS_REDIS_URL",
    "FPBUS_HISTORY_URL",
    "FPBUS_STORAGE_URL",
    "FPBUS_ROOT",
    "FPBUS_PROJECT",
    "FPBUS_LOG_LEVEL",
    "FPBUS_LOG_FORMAT",
    "FPBUS_ALLOW_INSECURE",
}
ACCOUNTS: Final = {"fpbus": "service1", "device": "device2", "operator": "operator3"}
ENVIRONMENT: Final = {
    "MQTT_PASSWORD": ACCOUNTS["fpbus"],
    "DEVICE_PASSWORD": ACCOUNTS["device"],
    "OPERATOR_PASSWORD": ACCOUNTS["operator"],
    "REDIS_PASSWORD": "redis4",
    "PROJECT_DIR": "./project",
}
MIB: Final = 1024 * 1024

VARIABLE = re.compile(r"\$\$|\$\{(?P<name>\w+)(?::(?P<sign>[-?])(?P<rest>[^}]*))?\}")


def filled_in(value: Any, environment: dict[str, str]) -> Any:
    """Fill in `${NAME}`, `${NAME:-default}` and `${NAME:?message}` everywhere, as `docker compose` does."""
    if isinstance(value, dict):
        return {key: filled_in(item, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [filled_in(item, environment) for item in value]
    if not isinstance(value, str):
        return value

    def one(match: re.Match[str]) -> str:
        if match["name"] is None:
            return "$"
        given = environment.get(match["name"], "")
        if not given and match["sign"] == "?":
            raise LookupError(f"{match['name']}: {match['rest']}")
        return given or (match["rest"] if match["sign"] == "-" else "")

    return VARIABLE.sub(one, value)


@cache
def written() -> dict[str, Any]:
    """The file as it is written."""
    document: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
    return document


def composed(environment: dict[str, str] = ENVIRONMENT) -> dict[str, Any]:
    """The file as Docker would use it."""
    document: dict[str, Any] = filled_in(written(), environment)
    return document


def service(name: str) -> dict[str, Any]:
    found: dict[str, Any] = composed()["services"][name]
    return found


# --- compose.yaml ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", [written(), composed()], ids=["written", "filled in"])
def test_the_file_is_a_compose_file(document: dict[str, Any]) -> None:
    schema = json.loads(SCHEMA.read_text())

    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(document)


def test_each_role_is_served_by_the_service_of_its_name() -> None:
    services = composed()["services"]

    served = {name: parts["command"][:3] for name, parts in services.items() if "build" in parts}

    assert served == {role: ["fpbus", "serve", role] for role in ROLES}
    assert set(services) == {*ROLES, "mosquitto", "redis"}


def test_the_schedules_of_the_project_are_active() -> None:
    options = {role: service(role)["command"][3:] for role in ROLES}

    assert options == {"dispatcher": [], "runner": [], "recorder": [], "scheduler": ["--schedule"]}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_asked_for_its_own_health(role: str) -> None:
    assert service(role)["healthcheck"]["test"] == ["CMD", "fpbus", "health", role]


def test_one_number_says_how_many_runners_there_are() -> None:
    many = composed({**ENVIRONMENT, "RUNNERS": "4"})["services"]

    assert service("runner")["deploy"]["replicas"] == "1"
    assert many["runner"]["deploy"]["replicas"] == "4"
    assert [name for name, parts in many.items() if "deploy" in parts] == ["runner"]


def test_replicas_have_a_name_of_their_own_and_the_others_keep_theirs() -> None:
    assert {role: service(role).get("hostname") for role in ROLES} == {
        "dispatcher": "dispatcher",
        "runner": None,
        "recorder": "recorder",
        "scheduler": "scheduler",
    }


def test_every_setting_is_one_of_the_contract() -> None:
    named = {name for role in ROLES for name in service(role)["environment"]}

    assert named <= SETTINGS


def test_only_who_may_open_redis_or_the_history_is_told_where_it_is() -> None:
    told = {role: set(service(role)["environment"]) for role in ROLES}

    assert {role for role in ROLES if "FPBUS_REDIS_URL" in told[role]} == {"dispatcher", "runner"}
    assert {role for role in ROLES if "FPBUS_HISTORY_URL" in told[role]} == {"recorder"}


@pytest.mark.parametrize("missing", sorted(ENVIRONMENT))
def test_nothing_that_must_be_chosen_has_a_default(missing: str) -> None:
    without = {name: value for name, value in ENVIRONMENT.items() if name != missing}

    with pytest.raises(LookupError, match=missing):
        composed(without)


def test_the_example_of_the_environment_names_every_variable_and_no_password() -> None:
    used = {match["name"] for match in VARIABLE.finditer((COMPOSE / "compose.yaml").read_text()) if match["name"]}

    lines = [
        line.split("=", 1) for line in (COMPOSE / ".env.example").read_text().splitlines() if re.match(r"\w", line)
    ]
    example = dict(lines)

    assert set(example) == used
    assert {name for name, value in example.items() if not value} >= set(ENVIRONMENT)
    assert ".env" in (COMPOSE / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("name", [*ROLES, "mosquitto", "redis"])
def test_every_service_comes_back_and_has_time_to_stop(name: str) -> None:
    parts = service(name)

    assert parts["restart"] == "unless-stopped"
    assert parts["stop_grace_period"] == "35s"  # fpbus' own grace is 30 s


def test_nothing_is_published_beyond_this_machine() -> None:
    ports = {name: parts["ports"] for name, parts in composed()["services"].items() if "ports" in parts}

    assert ports == {"mosquitto": ["127.0.0.1:1883:1883"]}


def test_what_is_mounted_or_copied_is_there() -> None:
    mounted = [
        volume.split(":")[0]
        for parts in composed()["services"].values()
        for volume in parts["volumes"]
        if isinstance(volume, str) and volume.startswith("./")
    ]
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", (COMPOSE / "Dockerfile").read_text(), re.MULTILINE)
    seen_by_the_build = re.findall(r"^!(.+)$", (COMPOSE / "Dockerfile.dockerignore").read_text(), re.MULTILINE)

    assert all((COMPOSE / path).is_file() for path in mounted)
    assert {path for line in copied for path in line.split()} == set(seen_by_the_build)
    assert all((ROOT / path).exists() for path in seen_by_the_build)


# --- Mosquitto ------------------------------------------------------------------------------------------------------


def started(folder: Path) -> Iterator[Server]:
    """Mosquitto, started by the very command of compose.yaml with the very files beside it."""
    for name in ("mosquitto", "mosquitto_passwd", "mosquitto_sub"):
        program(name)
    home, port = folder / "mosquitto", free_port()
    for part in ("config", "access", "data"):
        (home / part).mkdir(parents=True)
    settings = re.sub(r"^listener 1883$", f"listener {port} 127.0.0.1", at(home, "mosquitto.conf"), flags=re.MULTILINE)
    # Started by root, Mosquitto would become the user `mosquitto`, who may not enter a test's folder.
    (home / "config" / "mosquitto.conf").write_text(f"{settings}\nuser root\n")
    (home / "config" / "mosquitto.acl").write_text(at(home, "mosquitto.acl"))
    parts = service("mosquitto")
    command = [argument.replace("/mosquitto/", f"{home}/") for argument in parts["command"]]
    server = Server(["env", *assignments(parts, home), *command], port, home)
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One broker for all who leave nothing behind."""
    yield from started(tmp_path_factory.mktemp("standing"))


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Server]:
    """A broker to fill, or to kill."""
    yield from started(tmp_path)


def at(home: Path, name: str) -> str:
    """A file of compose/, with the image's folders moved to `home`."""
    return (COMPOSE / name).read_text().replace("/mosquitto/", f"{home}/")


def assignments(parts: dict[str, Any], home: Path) -> list[str]:
    """The environment of a service as `env` takes it. Debian keeps servers where only root looks."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
    values = {name: str(value).replace("/mosquitto/", f"{home}/") for name, value in parts["environment"].items()}
    return [f"{name}={value}" for name, value in {**values, "PATH": path}.items()]


class Peer:
    """A client of the broker on a thread of its own. `heard` is what has arrived, `ended` why the connection did."""

    def __init__(self, account: str | None, client_id: str = "", *, manual_ack: bool = False) -> None:
        self.heard: list[MQTTMessage] = []
        self.answer: ReasonCode | None = None
        self.ended: ReasonCode | None = None
        self._told = threading.Condition()
        self._confirmed: dict[int, ReasonCode] = {}
        self._subscribed: set[int] = set()
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
            manual_ack=manual_ack,
        )
        if account is not None:
            self._client.username_pw_set(account, ACCOUNTS.get(account))
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._client.on_publish = self._on_publish
        self._client.on_subscribe = self._on_subscribe

    def connect(self, broker: Server, *, durable: bool = False) -> ReasonCode:
        """Return the broker's answer."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho has no type for it
        properties.SessionExpiryInterval = 3600 if durable else 0
        self._client.connect("127.0.0.1", broker.port, clean_start=not durable, properties=properties)
        self._client.loop_start()
        self._until(lambda: self.answer is not None)
        assert self.answer is not None
        return self.answer

    def subscribe(self, *topics: str) -> None:
        """Return when the broker has taken it; that says nothing about being allowed to."""
        _, mid = self._client.subscribe([(topic, 1) for topic in topics])
        assert mid is not None
        self._until(lambda: mid in self._subscribed)

    def publish(self, topic: str, payload: bytes = b"{}", *, retain: bool = False) -> str:
        """Return the broker's answer in words."""
        return self.publish_all(topic, [payload], retain=retain)[0]

    def publish_all(self, topic: str, payloads: list[bytes], *, retain: bool = False) -> list[str]:
        mids = [self.send(topic, payload, retain=retain) for payload in payloads]
        self._until(lambda: mids[-1] in self._confirmed)  # the broker confirms in order
        return [str(self._confirmed[mid]) for mid in mids]

    def send(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """Publish with QoS 1 and do not wait."""
        return self._client.publish(topic, payload, qos=1, retain=retain).mid

    def wait_for(self, number: int) -> list[tuple[str, bytes]]:
        """Return topic and payload of everything that was heard, once that is `number` messages."""
        self._until(lambda: len(self.heard) >= number)
        return [(message.topic, bytes(message.payload)) for message in self.heard]

    def wait_for_end(self) -> None:
        self._until(lambda: self.ended is not None)

    def leave(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _until(self, condition: Any) -> None:
        with self._told:
            assert self._told.wait_for(condition, 15), f"not within 15 s; heard {len(self.heard)}, ended {self.ended}"

    def _on_connect(
        self, _client: Client, _data: object, _flags: ConnectFlags, answer: ReasonCode, _more: Properties | None
    ) -> None:
        with self._told:
            self.answer = answer
            self._told.notify_all()

    def _on_disconnect(
        self, _client: Client, _data: object, _flags: DisconnectFlags, reason: ReasonCode, _more: Properties | None
    ) -> None:
        with self._told:
            self.ended = reason
            self._told.notify_all()

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        with self._told:
            self.heard.append(message)
            self._told.notify_all()

    def _on_publish(self, _client: Client, _data: object, mid: int, reason: ReasonCode, _more: Properties) -> None:
        with self._told:
            self._confirmed[mid] = reason
            self._told.notify_all()

    def _on_subscribe(
        self, _client: Client, _data: object, mid: int, _reasons: list[ReasonCode], _more: Properties | None
    ) -> None:
        with self._told:
            self._subscribed.add(mid)
            self._told.notify_all()


@contextmanager
def peer(
    broker: Server, account: str, client_id: str = "", *, durable: bool = False, manual_ack: bool = False
) -> Generator[Peer]:
    """A connected client, gone at the end."""
    client = Peer(account, client_id, manual_ack=manual_ack)
    try:
        assert client.connect(broker, durable=durable) == "Success"
        yield client
    finally:
        client.leave()


def subscribed_and_gone(broker: Server, client_id: str, *topics: str) -> None:
    """Leave a durable session behind that collects `topics`."""
    with peer(broker, "fpbus", client_id, durable=True) as client:
        client.subscribe(*topics)


def setting(name: str) -> int:
    match = re.search(rf"^{name} (\d+)$", (COMPOSE / "mosquitto.conf").read_text(), re.MULTILINE)
    assert match is not None, name
    return int(match[1])


@pytest.mark.parametrize("account", [None, "stranger"])
def test_a_client_without_an_account_is_refused(broker: Server, account: str | None) -> None:
    client = Peer(account)

    answer = client.connect(broker)

    assert answer == "Not authorized"
    client.leave()


def test_a_wrong_password_is_refused(broker: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ACCOUNTS, "device", "a guess")
    client = Peer("device")

    answer = client.connect(broker)

    assert answer == "Not authorized"
    client.leave()


def test_no_password_is_readable_in_the_file_of_passwords(broker: Server) -> None:
    passwords = (broker.folder / "access" / "passwd").read_text()

    assert [line.split(":")[0] for line in passwords.splitlines()] == list(ACCOUNTS)
    assert not any(line.endswith(f":{word}") for line in passwords.splitlines() for word in ACCOUNTS.values())


@pytest.mark.parametrize("name", ["passwd", "acl", "mosquitto_sub"])
def test_the_files_of_access_are_the_brokers_own(broker: Server, name: str) -> None:
    assert (broker.folder / "access" / name).stat().st_mode & 0o077 == 0


def test_the_health_check_of_the_broker_passes_with_a_broker_only(own_broker: Server) -> None:
    parts = service("mosquitto")
    kind, check = parts["healthcheck"]["test"]
    check = check.replace("mosquitto_sub", f"mosquitto_sub -h 127.0.0.1 -p {own_broker.port}")
    command = ["env", *assignments(parts, own_broker.folder), "sh", "-c", check]

    alive = subprocess.run(command, capture_output=True, check=False)
    own_broker.kill()
    dead = subprocess.run(command, capture_output=True, check=False)

    assert kind == "CMD-SHELL"
    assert (alive.returncode, dead.returncode == 0) == (0, False), alive.stderr


@pytest.mark.parametrize(
    ("account", "topic", "answer"),
    [
        ("device", "pipelines/overheat/run", "Success"),
        ("device", "devices/device/temperature", "Success"),
        ("device", "devices/other/temperature", "Not authorized"),
        ("device", "fpbus/call/dispatcher/submit", "Not authorized"),
        ("device", "fpbus/recorded", "Not authorized"),
        ("device", "pipelines/overheat/runs/r1/result", "Not authorized"),
        ("device", "pipelines/overheat/schema", "Not authorized"),
        ("operator", "fpbus/call/dispatcher/submit", "Success"),
        ("operator", "pipelines/overheat/run", "Success"),
        ("operator", "fpbus/services/runner/r/status", "Not authorized"),
        ("fpbus", "pipelines/overheat/runs/r1/result", "Success"),
        ("fpbus", "fpbus/services/runner/r/status", "Success"),
        ("fpbus", "devices/boiler-7/answers", "Success"),
    ],
)
def test_an_account_says_what_it_may_and_nothing_else(broker: Server, account: str, topic: str, answer: str) -> None:
    with peer(broker, "fpbus") as service_, peer(broker, account) as client:
        service_.subscribe("pipelines/#", "fpbus/#", "devices/#")

        said = client.publish(topic, b"said")
        service_.publish("fpbus/recorded", b"fence")

        heard = service_.wait_for(1 if said != "Success" else 2)

    assert said == answer
    assert ((topic, b"said") in heard) == (answer == "Success")


@pytest.mark.parametrize(
    ("account", "hidden", "open_"),
    [
        ("device", "fpbus/call/dispatcher/submit", "pipelines/overheat/runs/r1/result"),
        ("device", "pipelines/overheat/run", "pipelines/overheat/rejected"),
        ("device", "devices/other/answers", "devices/device/answers"),
        ("operator", "fpbus/call/dispatcher/submit", "fpbus/reply/operator-1"),
    ],
)
def test_an_account_hears_what_it_may_and_nothing_else(broker: Server, account: str, hidden: str, open_: str) -> None:
    with peer(broker, "fpbus") as service_, peer(broker, account) as client:
        client.subscribe(hidden, open_)

        service_.publish(hidden, b"hidden")
        service_.publish(open_, b"open")

        assert client.wait_for(1) == [(open_, b"open")]


def test_what_waits_and_what_is_retained_survives_a_crash_of_the_broker(own_broker: Server) -> None:
    subscribed_and_gone(own_broker, "fpbus-dispatcher", "pipelines/+/run", "fpbus/pressure")
    with peer(own_broker, "device") as device, peer(own_broker, "fpbus") as service_:
        service_.publish("fpbus/pressure", b"pressure 7", retain=True)
        device.publish("pipelines/overheat/run", b"request 7")
    snapshot = own_broker.folder / "data" / "mosquitto.db"
    wait_for(lambda: snapshot.exists() and b"request 7" in snapshot.read_bytes(), what="a snapshot with the message")

    own_broker.kill()
    own_broker.start()

    with peer(own_broker, "fpbus", "fpbus-dispatcher", durable=True) as dispatcher:
        heard = dispatcher.wait_for(2)
    with peer(own_broker, "operator") as newcomer:
        newcomer.subscribe("fpbus/pressure")
        retained = newcomer.wait_for(1)
    assert ("pipelines/overheat/run", b"request 7") in heard
    assert retained == [("fpbus/pressure", b"pressure 7")]


def test_all_that_a_dispatcher_missed_is_delivered_in_order(own_broker: Server) -> None:
    subscribed_and_gone(own_broker, "fpbus-dispatcher", "pipelines/+/run")
    payloads = [b"%d" % number for number in range(3000)]

    with peer(own_broker, "device") as device:
        device.publish_all("pipelines/overheat/run", payloads)
    with peer(own_broker, "fpbus", "fpbus-dispatcher", durable=True) as dispatcher:
        heard = dispatcher.wait_for(len(payloads))

    assert [payload for _, payload in heard] == payloads


def test_a_client_may_hold_a_thousand_messages_before_it_acknowledges(broker: Server) -> None:
    with (
        peer(broker, "device") as device,
        peer(broker, "fpbus", manual_ack=True) as dispatcher,
    ):
        dispatcher.subscribe("pipelines/+/run")

        device.publish_all("pipelines/overheat/run", [b"{}"] * 1001)

        assert len(dispatcher.wait_for(1000)) == 1000 == setting("max_inflight_messages")


def test_the_largest_payload_passes_and_a_packet_over_the_limit_ends_its_connection(broker: Server) -> None:
    largest, limit = b"x" * MIB, setting("max_packet_size")
    with peer(broker, "fpbus") as dispatcher, peer(broker, "device") as device, peer(broker, "device") as large:
        dispatcher.subscribe("pipelines/+/run")

        device.publish("pipelines/overheat/run", largest)
        large.send("pipelines/overheat/run", b"x" * limit)
        large.wait_for_end()
        device.publish("pipelines/overheat/run", b"after")

        assert [payload for _, payload in dispatcher.wait_for(2)] == [largest, b"after"]


# --- Redis ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Server]:
    """Redis, started by the very command of compose.yaml; folder, port and address are overridden behind it."""
    server_program, settings, *rest = service("redis")["command"]
    assert Path(settings).name == "redis.conf"
    port = free_port()
    command = [program(server_program), str(COMPOSE / "redis.conf"), *rest]
    command += ["--dir", str(tmp_path), "--port", str(port), "--bind", "127.0.0.1"]
    server = Server(command, port, tmp_path)
    try:
        yield server.start()
    finally:
        server.stop()


@contextmanager
def connected(queue: Server, password: str | None = ENVIRONMENT["REDIS_PASSWORD"]) -> Generator["redis.Redis"]:
    at_once = Retry(NoBackoff(), 0)
    client = redis.Redis("127.0.0.1", queue.port, password=password, decode_responses=True, retry=at_once)
    try:
        yield client
    finally:
        client.close()


def test_redis_keeps_what_it_took_and_throws_nothing_away(queue: Server) -> None:
    expected = {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "aof-load-truncated": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
        "maxmemory": str(1024 * MIB),
        "protected-mode": "yes",
        "timeout": "0",
        "tcp-keepalive": "60",
    }

    with connected(queue) as client:
        found: Any = client.config_get(*expected)

    assert found == expected


@pytest.mark.parametrize("password", [None, "a guess"])
def test_redis_refuses_whoever_has_not_the_password(queue: Server, password: str | None) -> None:
    with connected(queue, password) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_the_password_of_redis_stands_in_no_process_list(queue: Server) -> None:
    assert queue.process is not None
    process = psutil.Process(queue.process.pid)

    # It overwrites its command line a moment after it starts to listen.
    wait_for(lambda: ENVIRONMENT["REDIS_PASSWORD"] not in process.cmdline(), what="a command line without password")

    assert process.cmdline()[0].startswith(program("redis-server"))


def test_what_redis_answered_survives_its_crash(queue: Server) -> None:
    with connected(queue) as client:
        client.rpush("rq:queue:default", *(str(number) for number in range(500)))

    queue.kill()
    queue.start()

    with connected(queue) as client:
        wait_for(lambda: not client.info("persistence")["loading"], what="the append-only file is read")
        assert client.llen("rq:queue:default") == 500


def test_a_full_redis_refuses_and_keeps(queue: Server) -> None:
    with connected(queue) as client:
        client.set("accepted", "a run")
        client.config_set("maxmemory", "1")

        with pytest.raises(OutOfMemoryError):
            client.set("one", "too many")

        assert client.get("accepted") == "a run"


def test_the_health_check_of_redis_passes_with_redis_only(queue: Server) -> None:
    program("redis-cli")
    parts = service("redis")
    kind, check = parts["healthcheck"]["test"]
    check = check.replace("redis-cli", f"redis-cli -p {queue.port}")

    alive = subprocess.run(
        ["env", *assignments(parts, queue.folder), "sh", "-c", check], capture_output=True, check=False
    )
    stranger = subprocess.run(["sh", "-c", check], capture_output=True, check=False)
    queue.kill()
    dead = subprocess.run(
        ["env", *assignments(parts, queue.folder), "sh", "-c", check], capture_output=True, check=False
    )

    assert kind == "CMD-SHELL"
    assert (alive.returncode, stranger.returncode == 0, dead.returncode == 0) == (0, False, False)
