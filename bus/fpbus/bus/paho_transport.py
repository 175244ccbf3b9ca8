"""MQTT over paho, with its traps closed.

paho's own threads and reconnects are not used: a network thread of ours drives `loop()`, so that we decide
when to come back (back-off with jitter, for ever) and when not to (another client has taken our id).
`on_socket_register_write` is set to a function that does nothing, which tells paho that only the network
thread may write: publishers on other threads queue a packet and wake it.

* paho never sets TCP_NODELAY; without it a client that receives, acks and publishes waits 43 ms each time.
* An exception in a callback ends paho's loop while `is_connected()` stays true: each of ours is guarded.
* `publish()` says "not connected" for a message that it has queued, and "queue full" for one that it has not.
* Acks carry packet ids, which a new connection may give to other messages: an ack for an old connection is dropped.
* A subscription is in the session when the broker has said so, not when it was asked for.
"""

import logging
import random
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, cast

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PahoProperties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from fpbus.schemas import FpbusError

from .address import BrokerAddress
from .credentials import CredentialsError
from .packets import pack_properties
from .paho_client import PahoClient, set_nodelay
from .refusal import BrokerRefusedError, not_let_in
from .tls import tls_trouble
from .transport import Delivery, Hooks, Properties, Sending, TransportStoppedError

log = logging.getLogger(__name__)

RECEIVE_MAXIMUM: Final = 2048
#: As much as paho lets us name. What is above a client's limit Mosquitto drops; without a limit it tries for ever to
#: send us a 3.1.1 client's largest message, which in MQTT 5 is a byte too long, and nothing that waits behind it.
MAXIMUM_PACKET: Final = 268_435_455
SESSION_EXPIRY_S: Final = 7 * 24 * 3600
#: After one and a half times this a broker says that we are gone. Mosquitto looks every 5 s: 30 s at most.
KEEPALIVE_S: Final = 16
CONNECT_TIMEOUT_S: Final = 5.0
BACKOFF_FIRST_S: Final = 0.1
#: Until we are back, the broker's last word on a service is that it is gone. That may not last longer than 2 s.
BACKOFF_MAX_S: Final = 1.5
#: A connection that ends sooner counts as a failed attempt: two clients with one id must not kick each other all day.
LASTING_S: Final = 2.0
#: There are 65,535 packet ids; the rest is for the network thread, which may not wait for one.
MOST_UNCONFIRMED: Final = 65_000
#: What `stop` grants the goodbye when the queue has used up the time.
GOODBYE_S: Final = 0.5

_UNSUPPORTED_PROTOCOL: Final = 0x84
_TAKEN_OVER: Final = 0x8E
_NO_SUBSCRIBERS: Final = 0x10
#: Beside paho's own results of a publish, in which what is not above zero is no failure.
_UNHEARD: Final = cast("MQTTErrorCode", -100)
_UNSPECIFIED: Final = 0x80
#: Reason codes from here on say no.
_FAILURE: Final = 0x80
#: Wrong user or password, and not authorized: as MQTT 5 says it, and paho of 3.1.1.
_NOT_LET_IN: Final = frozenset({0x86, 0x87})


class PahoTransport:
    """One connection to a broker. `durable` keeps the session, and so what arrives meanwhile, while we are away."""

    def __init__(self, address: BrokerAddress, client_id: str, *, durable: bool) -> None:
        self._address = address
        self._client_id = client_id
        self._durable = durable
        self._client = self._make_client()
        self._lock = threading.Lock()  # guards the next five
        self._connection = 0
        self._filters: dict[str, int] = {}
        self._unwanted: set[str] = set()
        self._subscribed: set[str] = set()
        self._asked: dict[int, list[str]] = {}
        self._reason: str | None = None
        self.refusal: FpbusError | None = None
        self._connected = threading.Event()
        self._stopping = threading.Event()
        self._room = threading.Event()
        self._thread: threading.Thread | None = None
        self._hooks: Hooks | None = None

    @property
    def client_id(self) -> str:
        return self._client_id

    @property
    def speaks_5(self) -> bool:
        return self._client.protocol == paho.MQTTv5

    def start(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self._thread = threading.Thread(target=self._run, name=f"mqtt {self._client_id}", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        if self._thread is None or self._stopping.is_set():
            self._stopping.set()
            return
        while self._client.unconfirmed and not self._stopping.is_set() and time.monotonic() < deadline:
            self._wait_for_confirmation()
        self._stopping.set()
        self._client.disconnect()
        if self._thread is not threading.current_thread():
            self._thread.join(max(GOODBYE_S, deadline - time.monotonic()))

    def publish(self, topic: str, payload: bytes, qos: int, *, retain: bool, properties: Properties) -> Sending:
        packed = cast("PahoProperties", _Packed(properties)) if properties != _NOTHING else None
        while len(self._client.unconfirmed) >= MOST_UNCONFIRMED and not self._on_network_thread():
            self._refuse_when_stopped(topic)
            self._wait_for_confirmation()
        self._refuse_when_stopped(topic)
        while True:
            info = self._client.publish(topic, payload, qos, retain, packed)
            if info.rc != paho.MQTT_ERR_QUEUE_SIZE:  # else its packet id is in use, and the next one may be free
                return _PahoSending(info, qos)

    def _refuse_when_stopped(self, topic: str) -> None:
        if self._stopping.is_set():
            raise TransportStoppedError(f"{self._client_id} has stopped; {topic} was not published.")

    def _wait_for_confirmation(self) -> None:
        self._client.wake()
        self._room.clear()
        self._room.wait(0.05)

    def _on_network_thread(self) -> bool:
        return threading.current_thread() is self._thread

    def together(self) -> AbstractContextManager[None]:
        return self._client.together()

    def subscribe(self, filters: Mapping[str, int]) -> None:
        with self._lock:
            self._filters.update(filters)
            self._unwanted.difference_update(filters)
            if self._connected.is_set():
                self._ask_for(filters)

    def unsubscribe(self, filters: Sequence[str]) -> None:
        with self._lock:
            for name in filters:
                self._filters.pop(name, None)
            self._subscribed.difference_update(filters)
            self._unwanted.update(filters)
            if self._connected.is_set():
                self._let_go()

    def ack(self, *deliveries: Delivery) -> None:
        with self._lock:
            ours = self._connection
            self._client.ack_all([one.packet_id for one in deliveries if one.qos and one.connection == ours])

    # What follows runs on the network thread.

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            self._serve_one_connection()
            failures = 0 if time.monotonic() - began > LASTING_S else failures + 1
            ceiling = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** min(failures, 10))
            self._stopping.wait(random.uniform(ceiling / 2, ceiling))  # noqa: S311 (jitter, not a secret)

    def _serve_one_connection(self) -> None:
        try:
            self._connect()
            if self._stopping.is_set():  # `stop` found nothing to disconnect
                self._client.disconnect()
            answer_by = time.monotonic() + CONNECT_TIMEOUT_S
            while self._client.loop(1.0) == paho.MQTT_ERR_SUCCESS:
                if not self._connected.is_set() and time.monotonic() > answer_by:
                    self._client.vanish()
                    self._report_loss(f"no answer within {CONNECT_TIMEOUT_S:g} s")
                    return
        except OSError as error:
            self._report_loss(str(error), self._distrust(error))
        except CredentialsError as error:
            self._report_loss(str(error), error)
        except Exception:
            log.exception("the network thread of %s stumbled", self._client_id)
            self._report_loss("an error of our own")

    def _connect(self) -> None:
        assert self._hooks is not None
        with self._lock:
            self._connection += 1  # from here on, acks for older ones go nowhere
            self._client.connection = self._connection
            self._connected.clear()
            self._asked.clear()
        self._reason = None
        self._log_in()
        will = self._hooks.will()
        if will is not None:
            self._client.will_set(will.topic, will.payload, qos=1, retain=True)
        self._client.connect(self._address.host, self._address.port, KEEPALIVE_S, **self._connect_options())

    def _log_in(self) -> None:
        """Read what opens the door anew: it may have been replaced since."""
        credentials = self._address.credentials
        context = credentials.tls_context() if self._address.tls else None
        # MQTT 3.1.1 has no password without a user.
        password = credentials.read_password()
        username = "" if credentials.username is None and password is not None else credentials.username
        self._client.log_in_with(username, password, context)

    def _distrust(self, error: Exception | None) -> FpbusError | None:
        """Tell of a certificate that will not do, ours or theirs; None for trouble of other kinds."""
        trouble = tls_trouble(error, self._address.credentials.prefix)
        return (
            BrokerRefusedError(f"No connection to {self._address}: {trouble.reason}.", trouble.hint)
            if trouble
            else None
        )

    def _connect_options(self) -> dict[str, Any]:
        if not self.speaks_5:
            return {}
        properties = PahoProperties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho has no hints here
        properties.ReceiveMaximum = RECEIVE_MAXIMUM
        properties.MaximumPacketSize = MAXIMUM_PACKET
        if self._durable:
            properties.SessionExpiryInterval = SESSION_EXPIRY_S
        return {"clean_start": not self._durable, "properties": properties}

    def _make_client(self) -> PahoClient:
        protocol = self._address.protocol or paho.MQTTv5
        client = PahoClient(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=None if protocol == paho.MQTTv5 else not self._durable,
            protocol=MQTTProtocolVersion(protocol),
            transport="websockets" if self._address.websockets else "tcp",
            reconnect_on_failure=False,  # else paho tries MQTT 3.1 behind our back
            manual_ack=True,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        # No limit: else the messages beyond it wait while acks overtake them, and paho walks through
        # all that wait at every receipt.
        client.max_inflight_messages_set(0)
        client.max_queued_messages_set(0)
        if self._address.websockets:
            client.ws_set_options(self._address.path)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_delivery = self._on_delivery
        client.on_confirmed = self._on_confirmed
        client.on_subscribe = self._on_subscribe
        client.on_socket_open = set_nodelay
        client.on_socket_register_write = _leave_writing_to_the_loop
        return client

    def _on_connect(
        self, client: paho.Client, _data: Any, flags: paho.ConnectFlags, reason: ReasonCode, _properties: Any
    ) -> None:
        if reason.value == _UNSUPPORTED_PROTOCOL and self.speaks_5 and self._address.protocol is None:
            log.info("%s speaks no MQTT 5; going on with 3.1.1", self._address)
            self._client.fall_back(durable=self._durable)
            client.disconnect()
            return
        if reason.is_failure:
            self._reason = f"refused: {reason}"
            if reason.value in _NOT_LET_IN:
                self.refusal = not_let_in(self._address, str(reason))
            return
        self.refusal = None
        with self._lock:
            if not flags.session_present:
                self._subscribed.clear()
            self._let_go()
            # A filter that the session has is not sent again: on 3.1.1 that would replay retained messages.
            self._ask_for({name: qos for name, qos in self._filters.items() if name not in self._subscribed})
            self._connected.set()
            waiting = bool(self._asked)
        self._guard("connected", flags.session_present)
        if not waiting:
            self._guard("listening")

    def _let_go(self) -> None:
        """Unsubscribe from what nobody wants any more; a session may still have it."""
        if self._unwanted:
            self._client.unsubscribe(sorted(self._unwanted))
            self._unwanted.clear()

    def _ask_for(self, filters: Mapping[str, int]) -> None:
        if not filters:
            return
        if self.speaks_5:
            # Retained messages are sent for a new subscription only, never again at each reconnect.
            handling = SubscribeOptions.RETAIN_SEND_IF_NEW_SUB
            _, packet_id = self._client.subscribe(
                [(name, SubscribeOptions(qos=qos, retainHandling=handling)) for name, qos in filters.items()]
            )
        else:
            _, packet_id = self._client.subscribe(list(filters.items()))
        if packet_id is not None:
            self._asked[packet_id] = list(filters)

    def _on_subscribe(
        self, _client: paho.Client, _data: Any, packet_id: int, codes: list[ReasonCode], _properties: Any
    ) -> None:
        with self._lock:
            was_waiting = bool(self._asked)
            asked = self._asked.pop(packet_id, [])
            listening = was_waiting and not self._asked
            refused = [name for name, code in zip(asked, codes, strict=False) if code.is_failure]
            self._subscribed.update(name for name in asked if name not in refused)
        if refused:
            log.error("%s refused %s the subscription of %s", self._address, self._client_id, ", ".join(refused))
        if listening:
            self._guard("listening")

    def _on_disconnect(
        self, _client: paho.Client, _data: Any, flags: paho.DisconnectFlags, reason: ReasonCode, _properties: Any
    ) -> None:
        self._connected.clear()
        if reason.value == _TAKEN_OVER:
            self._stopping.set()
            self._guard("taken_over", f"another client has connected as {self._client_id}")
        elif reason.is_failure or flags.is_disconnect_packet_from_server:  # else we have ended it
            lost = "connection lost" if reason.value == _UNSPECIFIED else str(reason)
            refusal = self._distrust(self._client.tls_error) or self.refusal
            self._report_loss(self._reason or (str(refusal) if refusal else lost), refusal)

    def _on_confirmed(self, message: paho.MQTTMessage, reason: int) -> None:
        if reason >= _FAILURE:  # MQTT 5 tells; a 3.1.1 broker drops the message and confirms it
            message.info.rc = paho.MQTT_ERR_ACL_DENIED
            why = ReasonCode(PacketTypes.PUBACK, identifier=reason)
            log.error("%s refused a message of %s on %s: %s", self._address, self._client_id, message.topic, why)
        elif reason == _NO_SUBSCRIBERS:
            message.info.rc = _UNHEARD
        self._room.set()

    def _on_delivery(self, delivery: Delivery) -> None:
        self._guard("message", delivery)

    def _report_loss(self, reason: str, refusal: FpbusError | None = None) -> None:
        self.refusal = refusal
        if not self._stopping.is_set():
            self._guard("disconnected", reason)

    def _guard(self, hook: str, *arguments: Any) -> None:
        try:
            getattr(self._hooks, hook)(*arguments)
        except Exception:
            log.exception("the hook %r of %s stumbled", hook, self._client_id)


class _PahoSending:
    def __init__(self, info: paho.MQTTMessageInfo, qos: int) -> None:
        self._info = info
        if qos and info.rc == paho.MQTT_ERR_NO_CONN:
            info.rc = paho.MQTT_ERR_SUCCESS  # queued all the same; else paho's own wait would raise

    @property
    def refused(self) -> bool:
        return self._info.rc == paho.MQTT_ERR_ACL_DENIED

    @property
    def unheard(self) -> bool:
        return self._info.rc == _UNHEARD

    def wait(self, timeout_s: float) -> bool:
        try:
            self._info.wait_for_publish(timeout_s)
            return self._info.is_published()
        except RuntimeError:  # refused by the broker; or QoS 0, and there was no connection
            return False


def _leave_writing_to_the_loop(_client: paho.Client, _data: Any, _sock: Any) -> None:
    """Registered for its presence alone; see the top of this file."""


class _Packed:
    """paho asks no more of properties than to pack themselves; its own class takes 20 times as long."""

    def __init__(self, properties: Properties) -> None:
        self._bytes = pack_properties(properties)

    def pack(self) -> bytes:
        return self._bytes


_NOTHING: Final = Properties()
