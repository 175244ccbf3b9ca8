"""One connection for looking at a broker: what it announces, what it answers, and what it keeps for who was away.

Unlike a transport it never comes back by itself, has no thread, and lets a caller see every reason code.
"""

import contextlib
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PahoProperties
from paho.mqtt.reasoncodes import ReasonCode

from fpbus.schemas import FpbusError

from .address import BrokerAddress
from .paho_client import LookingClient, set_nodelay
from .refusal import BrokerRefusedError, not_let_in
from .tls import tls_trouble

_KEEPALIVE_S: Final = 30
_CONNECT_S: Final = 3.0
_SESSION_S: Final = 60  # what is left behind by a looker that is killed ends then
_GLANCE_S: Final = 0.05
_UNSUPPORTED_PROTOCOL: Final = 0x84
_NOT_LET_IN: Final = frozenset({0x86, 0x87})
_FAILURE: Final = 0x80


class BrokerAwayError(FpbusError):
    """No connection came about, or it ended while we looked."""

    exit_code = 5


@dataclass(frozen=True)
class Greeting:
    """What a broker says of itself when it lets us in; None where it says nothing."""

    speaks_5: bool
    session_present: bool
    largest_packet: int | None = None
    receive_maximum: int | None = None
    retains: bool = True
    highest_qos: int = 2
    keepalive_s: int | None = None


@dataclass(frozen=True)
class Seen:
    """A message that came."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    duplicate: bool
    packet_id: int


class Looker:
    """One connection. Methods raise `BrokerAwayError` when it ends before they do."""

    def __init__(self, address: BrokerAddress, client_id: str, *, durable: bool = False, clean: bool = True) -> None:
        self._address = address
        self._client_id = client_id
        self._durable = durable
        self._clean = clean
        self._greeting: Greeting | None = None
        self._refusal: ReasonCode | None = None
        self._answers: dict[int, list[int]] = {}
        self._seen: list[Seen] = []
        self._client = self._make(address.protocol or paho.MQTTv5)

    @property
    def greeting(self) -> Greeting:
        assert self._greeting is not None, "open first"
        return self._greeting

    def open(self) -> Greeting:
        """Connect, with MQTT 5 if the broker speaks it. Raises `BrokerAwayError` or `BrokerRefusedError`."""
        try:
            self._connect()
            if self._falls_back:
                self._refusal = None
                self._client = self._make(paho.MQTTv311)
                self._connect()
        except OSError as error:
            raise self._away(error) from error
        if self._refusal is not None and self._refusal.value in _NOT_LET_IN:
            raise not_let_in(self._address, str(self._refusal))
        if self._refusal is not None:
            raise BrokerRefusedError(f"{self._address} does not let us in: {self._refusal}.")
        return self.greeting

    def _connect(self) -> None:
        credentials = self._address.credentials
        context = credentials.tls_context() if self._address.tls else None
        password = credentials.read_password()
        username = "" if credentials.username is None and password is not None else credentials.username
        self._client.log_in_with(username, password, context)
        self._client.connect(self._address.host, self._address.port, _KEEPALIVE_S, **self._options())
        self._wait_until(lambda: bool(self._greeting or self._refusal), _CONNECT_S)
        if not (self._greeting or self._refusal):
            raise TimeoutError(f"no answer within {_CONNECT_S:g} s")

    @property
    def _falls_back(self) -> bool:
        return (
            self._refusal is not None
            and self._refusal.value == _UNSUPPORTED_PROTOCOL
            and self._address.protocol is None
        )

    def _away(self, error: OSError) -> FpbusError:
        trouble = tls_trouble(self._client.tls_error or error, self._address.credentials.prefix)
        if trouble is not None:
            return BrokerRefusedError(f"No connection to {self._address}: {trouble.reason}.", trouble.hint)
        reason = error.strerror or str(error)
        return BrokerAwayError(
            f"No connection to {self._address}: {reason[:1].lower()}{reason[1:]}.",
            "Is a broker running there? FPBUS_MQTT_URL says where; `fpbus up` starts one.",
        )

    def close(self) -> None:
        """Say goodbye; a session that is not durable ends."""
        with contextlib.suppress(BrokerAwayError, OSError):
            self._client.disconnect()
            self._client.loop_write()
        self._client.vanish()

    def vanish(self) -> None:
        """Be gone without a word; the broker keeps a durable session."""
        self._client.vanish()

    def subscribe(self, *filters: str, qos: int = 1, timeout_s: float = 3.0) -> list[int]:
        """Return the broker's reason code for each; below 128 it has granted the filter."""
        if not filters:
            return []
        _, packet_id = self._client.subscribe([(name, qos) for name in filters])
        assert packet_id is not None
        self._wait_until(lambda: packet_id in self._answers, timeout_s)
        return self._answers.get(packet_id, [_FAILURE] * len(filters))

    def publish(self, topic: str, *payloads: bytes, retain: bool = False, timeout_s: float = 3.0) -> list[int]:
        """Publish all with QoS 1 and return the reason codes of those that were confirmed in time."""
        sent = [self._client.publish(topic, payload, 1, retain).mid for payload in payloads]
        self._wait_until(lambda: all(packet_id in self._answers for packet_id in sent), timeout_s)
        return [self._answers[packet_id][0] for packet_id in sent if packet_id in self._answers]

    def may_publish(self, *topics: str, timeout_s: float = 3.0) -> Mapping[str, bool]:
        """Ask whether these topics may be published on, and publish nothing; those without an answer are not in it.

        Each gets the first half of QoS 2: the broker answers it with a reason code on MQTT 5. Ask about no more at a
        time than the broker receives at once.
        """
        sent = {self._client.publish(topic, b"", 2).mid: topic for topic in topics}
        self._wait_until(lambda: sent.keys() <= self._client.received.keys(), timeout_s)
        return {
            topic: self._client.received[packet_id] < _FAILURE
            for packet_id, topic in sent.items()
            if packet_id in self._client.received
        }

    def take(self, count: int, timeout_s: float, quiet_s: float | None = None) -> list[Seen]:
        """Take what has come when there are so many, the time is over, or nothing came for `quiet_s`."""
        deadline = time.monotonic() + timeout_s
        while len(self._seen) < count and (left := deadline - time.monotonic()) > 0:
            before = len(self._seen)
            self._wait_until(lambda: len(self._seen) != before, min(left, quiet_s or left))  # noqa: B023 (called at once)
            if quiet_s is not None and len(self._seen) == before:
                break
        taken, self._seen = self._seen, []
        return taken

    def ack(self, *messages: Seen) -> None:
        for message in messages:
            self._client.ack(message.packet_id, message.qos)

    def _wait_until(self, done: Callable[[], bool], timeout_s: float) -> None:
        """Serve the connection until then; raise `BrokerAwayError` when it ends."""
        deadline = time.monotonic() + timeout_s
        while not done() and (left := deadline - time.monotonic()) > 0:
            code = self._client.loop(min(_GLANCE_S, left))
            if code != paho.MQTT_ERR_SUCCESS and self._refusal is None and not done():
                if isinstance(self._client.tls_error, OSError):
                    raise self._away(self._client.tls_error)
                raise BrokerAwayError(f"{self._address} ended the connection while it was looked at.")
            if self._refusal is not None:
                return

    def _options(self) -> dict[str, Any]:
        if self._client.protocol != paho.MQTTv5:
            return {}
        properties = PahoProperties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho has no hints here
        if self._durable:
            properties.SessionExpiryInterval = _SESSION_S
        return {"clean_start": self._clean, "properties": properties}

    def _make(self, protocol: int) -> LookingClient:
        client = LookingClient(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=None if protocol == paho.MQTTv5 else self._clean and not self._durable,
            protocol=MQTTProtocolVersion(protocol),
            transport="websockets" if self._address.websockets else "tcp",
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = _CONNECT_S
        client.max_inflight_messages_set(20)
        client.max_queued_messages_set(0)
        if self._address.websockets:
            client.ws_set_options(self._address.path)
        client.on_socket_open = set_nodelay
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        return client

    def _on_connect(
        self, client: paho.Client, _data: Any, flags: paho.ConnectFlags, reason: ReasonCode, properties: Any
    ) -> None:
        if reason.is_failure:
            self._refusal = reason
            return
        self._greeting = Greeting(
            speaks_5=client.protocol == paho.MQTTv5,
            session_present=flags.session_present,
            largest_packet=getattr(properties, "MaximumPacketSize", None),
            receive_maximum=getattr(properties, "ReceiveMaximum", None),
            retains=bool(getattr(properties, "RetainAvailable", 1)),
            highest_qos=getattr(properties, "MaximumQoS", 2),
            keepalive_s=getattr(properties, "ServerKeepAlive", None),
        )

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        self._seen.append(
            Seen(message.topic, bytes(message.payload), message.qos, message.retain, message.dup, message.mid)
        )

    def _on_subscribe(
        self, _client: paho.Client, _data: Any, packet_id: int, codes: list[ReasonCode], _properties: Any
    ) -> None:
        self._answers[packet_id] = [code.value for code in codes]

    def _on_publish(self, _client: paho.Client, _data: Any, packet_id: int, reason: ReasonCode, _p: Any) -> None:
        self._answers[packet_id] = [reason.value]


@contextlib.contextmanager
def looking_at(
    address: BrokerAddress, client_id: str, *, durable: bool = False, clean: bool = True
) -> Generator[Looker]:
    """Connect for as long as the `with` block runs. Raises what `Looker.open` raises."""
    looker = Looker(address, client_id, durable=durable, clean=clean)
    looker.open()
    try:
        yield looker
    finally:
        looker.close()
