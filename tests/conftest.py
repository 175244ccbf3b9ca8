"""Fixtures that start the real thing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import postgres, servers


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
