"""A service's state that changes while its connection is being made is told, whenever that happens."""

from typing import Any, cast

import msgspec

from fpbus.bus import Bus
from fpbus.lifecycle import ServicePresence


class _Broker:
    """A transport whose connection is made step by step by the test, and that keeps what was published."""

    client_id = "under-test"
    refusal = None

    def __init__(self) -> None:
        self.hooks: Any = None
        self.states: list[str] = []

    def start(self, hooks: Any) -> None:
        self.hooks = hooks

    def subscribe(self, *_: Any, **__: Any) -> None:
        pass

    def publish(self, _topic: str, payload: bytes, *_: Any, **__: Any) -> None:
        self.states.append(msgspec.json.decode(payload)["state"])


def _service() -> tuple[_Broker, ServicePresence]:
    broker, presence = _Broker(), ServicePresence("dispatcher", "b")
    bus = Bus(cast("Any", broker), presence=presence)
    presence.attach(bus)
    bus.start()
    return broker, presence


def test_a_change_before_the_connection_is_in_the_birth() -> None:
    broker, presence = _service()

    presence.become("ready")
    broker.hooks.connected(False)
    broker.hooks.listening()

    assert broker.states == ["ready"]


def test_a_change_between_the_birth_and_the_answer_to_the_subscription_is_told() -> None:
    broker, presence = _service()

    broker.hooks.connected(False)
    presence.become("ready")
    broker.hooks.listening()

    assert broker.states == ["init", "ready"]


def test_a_change_after_that_is_told_once() -> None:
    broker, presence = _service()

    broker.hooks.connected(False)
    broker.hooks.listening()
    presence.become("ready")

    assert broker.states == ["init", "ready"]


def test_each_connection_has_a_birth() -> None:
    broker, _ = _service()

    for _ in range(2):
        broker.hooks.connected(False)
        broker.hooks.listening()
        broker.hooks.disconnected("cut")

    assert broker.states == ["init", "init"]
