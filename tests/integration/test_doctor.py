"""`fpbus doctor` against real servers: each fault is named with its remedy, and nothing is left behind."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
import redis as redis_py
from paho.mqtt.enums import CallbackAPIVersion
from rq import Queue

from fpbus.supervisor.accounts import write_accounts
from support.commands import Commands
from support.servers import Broker, Redis, Server, free_port, program
from support.servers import amqtt as make_amqtt
from support.servers import redis_server as make_redis
from support.stack import Stack
from support.waiting import wait_for

Findings = dict[str, dict[str, Any]]

GOOD = {
    "broker connection",
    "broker receive maximum",
    "broker echo",
    "broker retain",
    "broker message size",
    "broker subscribe",
    "broker publish",
    "broker session",
    "broker redelivery",
    "broker queue",
    "redis connection",
    "redis settings",
    "redis append-only file",
    "redis memory",
    "redis latency",
    "redis clock",
    "redis rights",
    "disk project",
}


@pytest.fixture
def nowhere(tmp_path: Path) -> Commands:
    """A folder without a project, where there is no code to import."""
    return Commands(tmp_path)


@pytest.fixture
def project(tmp_path: Path) -> Commands:
    Commands(tmp_path)("init", "--name", "shop")
    return Commands(tmp_path / "shop")


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    started: list[Server] = []
    yield started
    for server in started:
        server.stop()


def examine(where: Commands, **environment: str) -> Findings:
    """Ask the doctor, who finds faults; return its findings by area and name."""
    done = where("doctor", "--format", "json", environment=environment)
    assert done.code == 5, done.told
    assert "Traceback" not in done.told
    return {f"{one['area']} {one['name']}": one for one in json.loads(done.out)["findings"]}


def set_so(servers: list[Server], folder: Path, *lines: str) -> Broker:
    """Start a Mosquitto with a configuration of its own."""
    folder.mkdir()
    port = free_port()
    (folder / "conf").write_text("\n".join([f"listener {port} 127.0.0.1", "user root", *lines, ""]))
    broker = Broker([program("mosquitto"), "-c", str(folder / "conf")], port, folder)
    servers.append(broker)
    return broker.start()


def statuses(found: Findings, *names: str) -> list[str]:
    return [found[name]["status"] for name in names]


def test_all_is_well_with_the_whole_stack_and_every_pipeline_has_its_guarantee(
    tmp_path: Path, mosquitto: Broker, redis_server: Redis
) -> None:
    stack = Stack(tmp_path / "stack", mosquitto.url, redis_server.url)
    stack.start("recorder", "runner", "dispatcher", "scheduler")
    given = {"FPBUS_MQTT_URL": mosquitto.url, "FPBUS_REDIS_URL": redis_server.url}

    done = Commands(tmp_path)("doctor", "--format", "json", "--project", str(stack.project), environment=given)
    stack.stop()

    report = json.loads(done.out)
    assert [one for one in report["findings"] if one["status"] in {"warning", "fault"}] == []
    assert {f"{one['area']} {one['name']}" for one in report["findings"] if one["status"] == "ok"} >= GOOD
    assert done.code == 0
    assert {(one["pipeline"], one["of"], one["level"]) for one in report["guarantees"]} >= {
        ("add", "pipelines/add/run", "effectively once"),
        ("add", "execution", "at least once"),
    }


def test_what_is_away_is_a_fault_and_no_error(nowhere: Commands) -> None:
    nobody = free_port()

    found = examine(
        nowhere, FPBUS_MQTT_URL=f"mqtt://127.0.0.1:{nobody}", FPBUS_REDIS_URL=f"redis://127.0.0.1:{nobody}/0"
    )

    assert statuses(found, "broker connection", "redis connection") == ["fault", "fault"]
    assert "connection refused" in found["broker connection"]["message"]
    assert "FPBUS_MQTT_URL" in found["broker connection"]["remedy"]
    assert "FPBUS_REDIS_URL" in found["redis connection"]["remedy"]
    assert found["services presence"]["status"] == "skipped"
    assert found["project check"]["status"] == "skipped"


def test_a_broker_that_takes_a_connection_and_says_nothing_is_given_up(
    nowhere: Commands, servers: list[Server]
) -> None:

    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = examine(nowhere, FPBUS_MQTT_URL=f"mqtt://127.0.0.1:{silent.getsockname()[1]}")

    assert "no answer within" in found["broker connection"]["message"]


def test_mosquittos_own_limit_of_waiting_messages_is_seen(
    nowhere: Commands, servers: list[Server], tmp_path: Path
) -> None:
    broker = set_so(servers, tmp_path / "b", "allow_anonymous true")

    queue = examine(nowhere, FPBUS_MQTT_URL=broker.url)["broker queue"]

    assert queue["status"] == "fault"
    assert "1,000 were kept" in queue["message"]
    assert "max_queued_messages" in queue["remedy"]


def test_a_broker_without_retain_or_with_small_packets_is_at_fault(
    nowhere: Commands, servers: list[Server], tmp_path: Path
) -> None:
    forgetful = set_so(servers, tmp_path / "a", "allow_anonymous true", "retain_available false")
    narrow = set_so(servers, tmp_path / "b", "allow_anonymous true", "max_packet_size 100000")
    short = set_so(servers, tmp_path / "c", "allow_anonymous true", "message_size_limit 100000")

    assert examine(nowhere, FPBUS_MQTT_URL=forgetful.url)["broker retain"]["status"] == "fault"
    told = examine(nowhere, FPBUS_MQTT_URL=narrow.url)["broker packet size"]
    assert (told["status"], "max_packet_size 1114112" in told["remedy"]) == ("fault", True)
    assert examine(nowhere, FPBUS_MQTT_URL=short.url)["broker message size"]["status"] == "fault"


def test_an_embedded_broker_is_seen_for_what_it_is(nowhere: Commands, servers: list[Server], tmp_path: Path) -> None:
    broker = make_amqtt(tmp_path / "amqtt").start()
    servers.append(broker)

    found = examine(nowhere, FPBUS_MQTT_URL=broker.url)

    assert statuses(found, "broker protocol", "broker redelivery") == ["warning", "warning"]
    assert "3.1.1" in found["broker connection"]["message"]
    assert found["broker session"]["status"] == "ok"


def test_accounts_are_asked_for_all_that_they_need(
    nowhere: Commands, servers: list[Server], tmp_path: Path, redis_server: Redis
) -> None:
    folder = tmp_path / "access"
    write_accounts(folder, [], "", 1, 2)
    broker = set_so(
        servers, tmp_path / "b", "allow_anonymous false", f"password_file {folder}/passwords", f"acl_file {folder}/acl"
    )

    def as_user(name: str) -> Findings:
        return examine(
            nowhere,
            FPBUS_MQTT_URL=broker.url,
            FPBUS_MQTT_USERNAME=name,
            FPBUS_MQTT_PASSWORD_FILE=str(folder / "secrets" / name),
        )

    for name in ("dispatcher", "runner", "recorder", "scheduler", "operator"):
        found = as_user(name)
        assert statuses(found, "broker publish", "broker session", "broker retain") == ["ok", "ok", "ok"], name

    acl = folder / "acl"
    acl.write_text(acl.read_text().replace("topic write pipelines/+/schema\n", ""))
    broker.kill()
    broker.start()
    denied = as_user("runner")["broker publish"]
    assert denied["status"] == "fault"
    assert "may not publish on pipelines/+/schema;" in denied["message"]
    assert "fpbus acl" in denied["remedy"]


def test_without_a_right_to_try_things_out_it_says_so_and_goes_on(
    nowhere: Commands, servers: list[Server], tmp_path: Path
) -> None:
    (tmp_path / "acl").write_text("topic readwrite pipelines/#\ntopic readwrite fpbus/services/#\n")
    broker = set_so(servers, tmp_path / "b", "allow_anonymous true", f"acl_file {tmp_path}/acl")

    found = examine(nowhere, FPBUS_MQTT_URL=broker.url)

    assert found["broker echo"]["status"] == "skipped"
    assert "broker session" not in found
    assert "fpbus/call/" in found["broker publish"]["message"]


def test_asking_for_rights_publishes_nothing(nowhere: Commands, mosquitto: Broker, redis_server: Redis) -> None:
    heard: list[str] = []
    subscribed = threading.Event()
    observer = paho.Client(CallbackAPIVersion.VERSION2)
    observer.on_message = lambda _client, _data, message: heard.append(message.topic)
    observer.on_subscribe = lambda *_: subscribed.set()  # pyright: ignore[reportUnknownLambdaType]
    observer.connect("127.0.0.1", mosquitto.port)
    observer.subscribe("#", 0)
    observer.loop_start()
    assert subscribed.wait(10)

    examine(nowhere, FPBUS_MQTT_URL=mosquitto.url, FPBUS_REDIS_URL=redis_server.url)
    observer.publish("end", b"")
    wait_for(lambda: "end" in heard, what="the end")
    observer.disconnect()
    observer.loop_stop()

    assert {topic.rpartition("/")[0] for topic in heard} == {"fpbus/doctor", ""}


@pytest.mark.parametrize("root", ["", "shop/one"])
def test_nothing_is_left_behind(nowhere: Commands, servers: list[Server], tmp_path: Path, root: str) -> None:
    broker = set_so(servers, tmp_path / "b", "allow_anonymous true", "sys_interval 1", "max_queued_messages 0")
    redis = make_redis(tmp_path / "redis").start()
    servers.append(redis)

    examine(nowhere, FPBUS_MQTT_URL=broker.url, FPBUS_REDIS_URL=redis.url, FPBUS_ROOT=root)

    last: dict[str, str] = {}
    retained: list[str] = []
    observer = paho.Client(CallbackAPIVersion.VERSION2)

    def on_message(_client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        if message.topic.startswith("$SYS"):
            last[message.topic] = message.payload.decode()
        else:
            retained.append(message.topic)

    observer.on_message = on_message
    observer.connect("127.0.0.1", broker.port)
    observer.subscribe([("#", 0), ("$SYS/broker/clients/total", 0)])
    observer.loop_start()
    wait_for(lambda: last.get("$SYS/broker/clients/total") == "1", what="nobody but the observer")
    observer.disconnect()
    observer.loop_stop()
    with redis_py.Redis(port=redis.port) as raw:
        keys = raw.keys()

    assert retained == []
    assert keys == []


def test_redis_is_looked_at_as_the_services_do(
    nowhere: Commands, servers: list[Server], tmp_path: Path, redis_server: Redis
) -> None:
    careless = make_redis(tmp_path / "careless")
    careless.command += ["--appendonly", "no", "--maxmemory-policy", "allkeys-lru"]
    servers.append(careless.start())
    narrow = make_redis(tmp_path / "narrow")
    narrow.command += ["--maxmemory", "1200000", "--appendfsync", "no"]
    servers.append(narrow.start())
    with redis_py.Redis(port=redis_server.port) as raw:
        Queue("default", connection=raw).enqueue("os.getcwd")
    nobody = {"FPBUS_MQTT_URL": f"mqtt://127.0.0.1:{free_port()}"}

    evicting = examine(nowhere, FPBUS_REDIS_URL=careless.url, **nobody)
    full = examine(nowhere, FPBUS_REDIS_URL=narrow.url, **nobody)
    foreign = examine(nowhere, FPBUS_REDIS_URL=redis_server.url, **nobody)

    assert "maxmemory-policy allkeys-lru" in evicting["redis settings"]["message"]
    assert evicting["redis append-only file"]["status"] == "warning"
    assert "maxmemory" in full["redis memory"]["remedy"]
    assert full["redis append-only file"]["status"] == "warning"
    assert "none of fpbus" in foreign["redis settings"]["message"]


def test_a_copy_of_a_redis_and_a_user_without_rights_are_faults(
    nowhere: Commands, servers: list[Server], tmp_path: Path, redis_server: Redis
) -> None:
    copy = make_redis(tmp_path / "copy")
    copy.command += ["--replicaof", f"127.0.0.1 {redis_server.port}"]
    servers.append(copy.start())
    with redis_py.Redis(port=redis_server.port) as raw:
        raw.execute_command("ACL", "SETUSER", "ann", "on", ">word", "~rq:*", "+@all", "-@dangerous", "+info")
    nobody = {"FPBUS_MQTT_URL": f"mqtt://127.0.0.1:{free_port()}"}

    copied = examine(nowhere, FPBUS_REDIS_URL=copy.url, **nobody)
    denied = examine(
        nowhere, FPBUS_REDIS_URL=redis_server.url, FPBUS_REDIS_USERNAME="ann", FPBUS_REDIS_PASSWORD="word", **nobody
    )

    assert "a copy of another one" in copied["redis settings"]["message"]
    assert denied["redis rights"]["status"] == "fault"
    assert "fpbus:*" in denied["redis rights"]["message"]


def test_what_is_wrong_with_the_project_is_told(project: Commands) -> None:
    with (project.folder / "conf" / "pipelines" / "hello.yml").open("a") as file:
        file.write("paramz: {}\n")

    check = examine(project, FPBUS_MQTT_URL=f"mqtt://127.0.0.1:{free_port()}")["project check"]

    assert check["status"] == "fault"
    assert "conf/pipelines/hello.yml:" in check["message"]
    assert "paramz" in check["message"]


def test_a_module_that_hangs_is_given_up(project: Commands, mosquitto: Broker) -> None:
    (project.folder / "pipelines" / "hello.py").write_text("import threading\n\nthreading.Event().wait()\n")

    found = examine(project, FPBUS_MQTT_URL=mosquitto.url)

    assert found["project check"]["status"] == "warning"
    assert found["broker session"]["status"] == "ok"


def test_people_get_a_table_and_the_remedies_below(project: Commands, mosquitto: Broker) -> None:
    done = project("doctor", environment={"FPBUS_MQTT_URL": mosquitto.url})

    assert done.out.splitlines()[0].split() == ["STATUS", "WHAT", "FOUND"]
    assert "PIPELINE" in done.out
    assert "services runner: Start one: fpbus serve runner" in done.told
    assert done.told.splitlines()[-1].startswith("4 faults, ")
