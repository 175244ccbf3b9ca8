"""Fixtures that start the real thing."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import psutil
import pytest

from support import postgres, servers
from support.device import Device
from support.stack import Stack


@pytest.fixture(autouse=True)
def own_path() -> Iterator[None]:
    """Take projects off Python's path again: their modules have names that others' have, too."""
    path = list(sys.path)
    yield
    sys.path[:] = path


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the outboxes of tests out of the developer's own folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[servers.Broker]:
    broker = servers.mosquitto(tmp_path / "mosquitto")
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def amqtt(tmp_path: Path) -> Iterator[servers.Broker]:
    broker = servers.amqtt(tmp_path / "amqtt")
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[servers.Redis]:
    redis = servers.redis_server(tmp_path / "redis")
    redis.start()
    yield redis
    redis.stop()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    with postgres.postgres() as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of an empty database on a real PostgreSQL."""
    with postgres.database(postgres_server) as url:
        yield url


def pytest_configure() -> None:
    """Have no child ignore a signal because we do, as `nohup` and `&` of a shell make us: children inherit it.

    A handler of ours that does nothing is not inherited.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, _do_nothing)


def _do_nothing(_number: int, _frame: FrameType | None) -> None: ...


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """After Ctrl-C let the workers of pytest-xdist stop what they started; it would kill them in the middle."""
    if exitstatus != pytest.ExitCode.INTERRUPTED:
        return
    if "PYTEST_XDIST_WORKER" in os.environ:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal tells each worker, and then we do
    elif session.config.getoption("numprocesses", None):
        workers = psutil.Process().children()
        for worker in workers:
            worker.send_signal(signal.SIGINT)
        psutil.wait_procs(workers, timeout=15)  # idle ones end with us only


@pytest.fixture
def stack(tmp_path: Path, mosquitto: servers.Broker, redis_server: servers.Redis) -> Iterator[Stack]:
    made = Stack(tmp_path / "stack", mosquitto.url, redis_server.url)
    yield made
    made.stop()


@pytest.fixture
def device(mosquitto: servers.Broker) -> Iterator[Device]:
    made = Device(mosquitto.url)
    yield made
    made.close()
