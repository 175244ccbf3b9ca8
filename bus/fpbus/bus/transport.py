"""What the bus needs of an MQTT client.

`paho_transport` speaks to a broker, `memory` to itself; both pass one contract suite.

Every hook of a transport runs on its network thread, must not block, and may not raise.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import msgspec

from fpbus.schemas import FpbusError


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """A message as it arrived. `connection` tells on which one: an ack goes nowhere once that is gone.

    `expires_s` is what was left of its publisher's Message Expiry Interval, in seconds, when the broker sent it on.
    `outside`: the topic is not one of the bus, but a device's, and whole.
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool
    duplicate: bool
    packet_id: int
    connection: int
    content_type: str | None = None
    response_topic: str | None = None
    correlation: bytes | None = None
    user: Mapping[str, str] = {}
    expires_s: int | None = None
    outside: bool = False


class Properties(msgspec.Struct, frozen=True, gc=False):
    """What travels beside a payload on MQTT 5; MQTT 3.1.1 has no place for it."""

    content_type: str | None = None
    response_topic: str | None = None
    correlation: bytes | None = None
    user: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker says for a client that vanished."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a transport tells its bus.

    `connected` hears whether the broker still had the session, `listening` comes when it has also answered what was
    subscribed to before: from then on nothing is missed. `taken_over` means that another client
    has come with our id: the transport has stopped and will not come back by itself.
    """

    message: Callable[[Delivery], None]
    connected: Callable[[bool], None]
    disconnected: Callable[[str], None]
    taken_over: Callable[[str], None]
    will: Callable[[], Will | None]
    listening: Callable[[], None] = lambda: None


class Sending(Protocol):
    """A message on its way to the broker."""

    def wait(self, timeout_s: float) -> bool:
        """Wait until the broker has it (QoS 1), or the socket has (QoS 0). True when that happened."""
        ...

    @property
    def refused(self) -> bool:
        """Has the broker said that we may not publish it; on MQTT 3.1.1 none does."""
        ...

    @property
    def unheard(self) -> bool:
        """Has the broker said that nobody listens there (QoS 1); on MQTT 3.1.1 none does."""
        ...


class Transport(Protocol):
    """One MQTT connection that comes back for ever until it is stopped."""

    @property
    def client_id(self) -> str: ...

    @property
    def speaks_5(self) -> bool:
        """Tell whether the present connection speaks MQTT 5."""
        ...

    @property
    def refusal(self) -> FpbusError | None:
        """Why there will be no connection until somebody changes a setting; None while there is hope."""
        ...

    def start(self, hooks: Hooks) -> None:
        """Begin to connect, and return at once."""
        ...

    def stop(self, timeout_s: float) -> None:
        """Send what is queued, say goodbye, end the network thread. A second call does nothing."""
        ...

    def publish(self, topic: str, payload: bytes, qos: int, *, retain: bool, properties: Properties) -> Sending:
        """Queue one message; QoS 1 survives reconnects. Blocks while 65,535 messages are unconfirmed."""
        ...

    def together(self) -> AbstractContextManager[None]:
        """Have what this thread publishes within the `with` block leave in one go, at its end at the latest."""
        ...

    def subscribe(self, filters: Mapping[str, int]) -> None:
        """Subscribe now, and again after every reconnect that finds no session."""
        ...

    def unsubscribe(self, filters: Sequence[str]) -> None:
        """Hear no more of these, now and after every reconnect."""
        ...

    def ack(self, *deliveries: Delivery) -> None:
        """Confirm QoS 1 messages. Safe after their connection has gone: then the broker sends them again."""
        ...


class TransportStoppedError(RuntimeError):
    """Something was published on a transport that has stopped."""
