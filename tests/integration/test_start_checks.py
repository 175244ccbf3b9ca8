"""What a service refuses to start with, told with the name of the setting; on real servers that are set so."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis as redis_py
from rq import Queue

from fpbus.schemas.redis_server import ForeignQueueError, check_jobs
from support.commands import Commands, Done
from support.servers import Broker, Redis
from support.servers import redis_server as make_redis
from support.stack import Stack

USERS_OF_REDIS = ("dispatcher", "runner")


@pytest.fixture
def project(tmp_path: Path) -> Commands:
    made = Commands(tmp_path)
    made("init", "--name", "shop")
    return made


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Redis]]:
    started: list[Redis] = []
    yield started
    for server in started:
        server.stop()


def serve(project: Commands, role: str, broker: Broker, redis: Redis, **more: str) -> Done:
    """Start a service that is expected to end by itself."""
    environment = {"FPBUS_MQTT_URL": broker.url, "FPBUS_REDIS_URL": redis.url} | more
    return project("serve", role, "--project", "shop", environment=environment)


def set_so(servers: list[Redis], folder: Path, *options: str) -> Redis:
    made = make_redis(folder)
    made.command += options
    servers.append(made)
    return made.start()


def told(done: Done, *words: str) -> None:
    assert done.code == 8, done.told
    for word in words:
        assert word in done.told
    assert "Traceback" not in done.told


@pytest.mark.parametrize("role", USERS_OF_REDIS)
@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_redis_that_evicts_is_refused(  # noqa: PLR0917 (fixtures)
    project: Commands, servers: list[Redis], tmp_path: Path, mosquitto: Broker, role: str, policy: str
) -> None:
    redis = set_so(servers, tmp_path / "redis", "--maxmemory-policy", policy)

    done = serve(project, role, mosquitto, redis, FPBUS_ALLOW_VOLATILE="1", FPBUS_ALLOW_INSECURE="1")

    told(done, f"maxmemory-policy {policy}", "maxmemory-policy noeviction")


@pytest.mark.parametrize("role", USERS_OF_REDIS)
def test_a_redis_without_its_append_only_file_is_refused(
    project: Commands, servers: list[Redis], tmp_path: Path, mosquitto: Broker, role: str
) -> None:
    redis = set_so(servers, tmp_path / "redis", "--appendonly", "no")

    told(serve(project, role, mosquitto, redis), "appendonly no", "appendonly yes", "FPBUS_ALLOW_VOLATILE=1")


def test_it_is_taken_when_runs_may_be_lost(servers: list[Redis], tmp_path: Path, mosquitto: Broker) -> None:
    redis = set_so(servers, tmp_path / "redis", "--appendonly", "no")
    stack = Stack(tmp_path / "stack", mosquitto.url, redis.url)
    stack.configure("allow_volatile: true\n")

    stack.start(*USERS_OF_REDIS)

    assert stack.stop() == dict.fromkeys(USERS_OF_REDIS, 0)


@pytest.mark.parametrize("role", USERS_OF_REDIS)
def test_another_programs_jobs_in_our_queue_are_refused_unread(
    project: Commands, redis_server: Redis, mosquitto: Broker, role: str
) -> None:
    with redis_py.Redis.from_url(redis_server.url) as raw:
        job = Queue("default", connection=raw).enqueue("os.getcwd")  # RQ's default: a pickle

        done = serve(project, role, mosquitto, redis_server)

        told(done, "The queue 'default'", job.id, "none of fpbus", "FPBUS_REDIS_URL", "rq empty default")
        assert raw.lrange("rq:queue:default", 0, -1) == [job.id.encode()]


def test_another_programs_jobs_in_other_queues_are_none_of_our_business(
    tmp_path: Path, redis_server: Redis, mosquitto: Broker
) -> None:
    with redis_py.Redis.from_url(redis_server.url) as raw:
        Queue("mails", connection=raw).enqueue("os.getcwd")
    stack = Stack(tmp_path / "stack", mosquitto.url, redis_server.url)

    stack.start(*USERS_OF_REDIS)

    assert stack.stop() == dict.fromkeys(USERS_OF_REDIS, 0)


def test_a_job_that_has_gone_meanwhile_is_no_foreign_one() -> None:
    check_jobs("default", [("gone", None)])
    with pytest.raises(ForeignQueueError):
        check_jobs("default", [("gone", None), ("theirs", b"\x80\x04N.")])


@pytest.mark.parametrize("role", ["dispatcher", "runner", "recorder", "scheduler"])
def test_a_broker_on_another_machine_without_tls_and_login_is_refused(project: Commands, role: str) -> None:
    environment = {"FPBUS_MQTT_URL": "mqtt://192.0.2.1", "FPBUS_REDIS_URL": "redis://127.0.0.1:1"}

    told(
        project("serve", role, "--project", "shop", environment=environment),
        "without TLS and without user and password",
        "FPBUS_MQTT_URL",
        "allow_insecure",
    )


@pytest.mark.parametrize("role", USERS_OF_REDIS)
def test_a_redis_on_another_machine_without_tls_and_login_is_refused(project: Commands, role: str) -> None:
    environment = {"FPBUS_MQTT_URL": "mqtt://127.0.0.1:1", "FPBUS_REDIS_URL": "redis://192.0.2.1"}

    told(
        project("serve", role, "--project", "shop", environment=environment),
        "without TLS and without user and password",
        "FPBUS_REDIS_URL",
        "allow_insecure",
    )
