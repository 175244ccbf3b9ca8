"""The services as processes, and a plain MQTT client in front of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.device import Device
from support.servers import Broker, Redis
from support.stack import Stack


@pytest.fixture
def stack(tmp_path: Path, mosquitto: Broker, redis_server: Redis) -> Iterator[Stack]:
    made = Stack(tmp_path / "stack", mosquitto.url, redis_server.url)
    yield made
    made.stop()


@pytest.fixture
def device(mosquitto: Broker) -> Iterator[Device]:
    made = Device(mosquitto.url)
    yield made
    made.close()
