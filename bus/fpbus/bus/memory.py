"""A broker inside the process: the transport of users' tests and of ours.

It keeps the promises that the services build on, and no others: QoS 1 with redelivery of what was not
acknowledged, durable sessions, retained messages, one connection per client id, last wills. It says
`duplicate` for a message that it delivers again.
"""

import contextlib
import itertools
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from .filters import matches
from .transport import Delivery, Hooks, Properties, Sending, TransportStoppedError, Will

log = logging.getLogger(__name__)


@dataclass
class _Session:
    filters: dict[str, int] = field(default_factory=dict[str, int])
    unacked: dict[int, Delivery] = field(default_factory=dict[int, Delivery])

    def qos_of(self, topic: str) -> int | None:
        """Return the most that was granted to a filter that matches, or None."""
        return max((qos for name, qos in self.filters.items() if matches(name, topic)), default=None)


class MemoryBroker:
    """Where memory transports meet. All that they do happens under its lock, hooks included."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._packet_ids = itertools.count(1)
        self._connections = itertools.count(1)
        self._sessions: dict[str, _Session] = {}
        self._clients: dict[str, MemoryTransport] = {}
        self._retained: dict[str, Delivery] = {}

    def connect(self, client: "MemoryTransport") -> None:
        previous = self._clients.get(client.client_id)
        if previous is not None:
            previous.lose("taken over", taken_over=True)
        kept = self._sessions.get(client.client_id)
        present = client.durable and kept is not None
        session = kept if kept is not None and present else _Session()
        self._sessions[client.client_id] = session
        self._clients[client.client_id] = client
        backlog = list(session.unacked)
        client.begin(next(self._connections), session_present=present)
        for packet_id in backlog:
            self._hand_over(client, session, packet_id)

    def disconnect(self, client: "MemoryTransport", will: Will | None) -> None:
        if self._clients.get(client.client_id) is not client:
            return
        del self._clients[client.client_id]
        if not client.durable:
            del self._sessions[client.client_id]
        if will is not None:
            self.publish(will.topic, will.payload, qos=1, retain=True, properties=Properties())

    def subscribe(self, client: "MemoryTransport", filters: Mapping[str, int]) -> None:
        """Add filters to the client's session; retained messages are sent for new ones only."""
        session = self._sessions[client.client_id]
        new = {name: qos for name, qos in filters.items() if name not in session.filters}
        session.filters.update(filters)
        for topic, delivery in list(self._retained.items()):
            granted = [qos for name, qos in new.items() if matches(name, topic)]
            if granted:
                qos = min(delivery.qos, max(granted))
                self._deliver(client.client_id, session, replace(delivery, retain=True, qos=qos))

    def unsubscribe(self, client: "MemoryTransport", filters: Sequence[str]) -> None:
        for name in filters:
            self._sessions[client.client_id].filters.pop(name, None)

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool, properties: Properties) -> None:
        delivery = Delivery(
            topic,
            payload,
            qos,
            retain=False,
            duplicate=False,
            packet_id=0,
            connection=0,
            content_type=properties.content_type,
            response_topic=properties.response_topic,
            correlation=properties.correlation,
            user=properties.user,
        )
        with self.lock:
            if retain:
                self._retain(delivery)
            for client_id, session in list(self._sessions.items()):
                granted = session.qos_of(topic)
                if granted is not None:
                    self._deliver(client_id, session, replace(delivery, qos=min(qos, granted)))

    def ack(self, client_id: str, packet_id: int) -> None:
        self._sessions[client_id].unacked.pop(packet_id, None)

    def _retain(self, delivery: Delivery) -> None:
        if delivery.payload:
            self._retained[delivery.topic] = delivery
        else:
            self._retained.pop(delivery.topic, None)

    def _deliver(self, client_id: str, session: _Session, delivery: Delivery) -> None:
        client = self._clients.get(client_id)
        if delivery.qos:
            packet_id = next(self._packet_ids)
            session.unacked[packet_id] = replace(delivery, packet_id=packet_id)
            if client is not None:
                self._hand_over(client, session, packet_id)
        elif client is not None:
            client.deliver(delivery)

    def _hand_over(self, client: "MemoryTransport", session: _Session, packet_id: int) -> None:
        delivery = session.unacked[packet_id]
        session.unacked[packet_id] = replace(delivery, duplicate=True)
        client.deliver(delivery)


class MemoryTransport:
    """A connection to a `MemoryBroker`. `lose()` and `come_back()` let a test pull the plug."""

    def __init__(self, broker: MemoryBroker, client_id: str, *, durable: bool) -> None:
        self.durable = durable
        self._broker = broker
        self._client_id = client_id
        self._hooks: Hooks | None = None
        self._will: Will | None = None
        self._filters: dict[str, int] = {}
        self._unwanted: set[str] = set()
        self._waiting: list[Callable[[], None]] = []
        self._connection = 0
        self._connected = False
        self._stopped = False

    @property
    def client_id(self) -> str:
        return self._client_id

    @property
    def speaks_5(self) -> bool:
        return True

    @property
    def refusal(self) -> None:
        """Everyone is let in."""

    def start(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self.come_back()

    def come_back(self) -> None:
        """Connect again, as a transport does by itself when the broker can be reached."""
        assert self._hooks is not None
        with self._broker.lock:
            if not self._stopped:
                self._will = self._hooks.will()
                self._broker.connect(self)

    def lose(self, reason: str = "connection lost", *, taken_over: bool = False) -> None:
        """Drop the connection without a goodbye."""
        with self._broker.lock:
            self._connected = False
            self._stopped = self._stopped or taken_over
            self._broker.disconnect(self, self._will)
            if taken_over:
                self._tell("taken_over", f"another client has connected as {self._client_id}")
            else:
                self._tell("disconnected", reason)

    def stop(self, timeout_s: float) -> None:
        del timeout_s
        with self._broker.lock:
            self._stopped = True
            self._connected = False
            self._broker.disconnect(self, None)

    def publish(self, topic: str, payload: bytes, qos: int, *, retain: bool, properties: Properties) -> Sending:
        sending = _Sending()

        def send() -> None:
            self._broker.publish(topic, payload, qos=qos, retain=retain, properties=properties)
            sending.done.set()

        with self._broker.lock:
            if self._stopped:
                raise TransportStoppedError(f"{self._client_id} has stopped; {topic} was not published.")
            if self._connected:
                send()
            elif qos:
                self._waiting.append(send)
        return sending

    def subscribe(self, filters: Mapping[str, int]) -> None:
        with self._broker.lock:
            self._filters.update(filters)
            if self._connected:
                self._broker.subscribe(self, filters)

    def unsubscribe(self, filters: Sequence[str]) -> None:
        with self._broker.lock:
            for name in filters:
                self._filters.pop(name, None)
            self._unwanted.update(filters)
            if self._connected:
                self._let_go()

    def _let_go(self) -> None:
        self._broker.unsubscribe(self, sorted(self._unwanted - self._filters.keys()))
        self._unwanted.clear()

    def together(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def ack(self, *deliveries: Delivery) -> None:
        with self._broker.lock:
            for delivery in deliveries:
                if self._connected and delivery.connection == self._connection:
                    self._broker.ack(self._client_id, delivery.packet_id)

    def begin(self, connection: int, *, session_present: bool) -> None:
        """Hear from the broker that it has let us in."""
        self._connection = connection
        self._connected = True
        self._let_go()
        self._broker.subscribe(self, self._filters)
        self._tell("connected", session_present)
        self._tell("listening")
        waiting, self._waiting = self._waiting, []
        for send in waiting:
            send()

    def deliver(self, delivery: Delivery) -> None:
        self._tell("message", replace(delivery, connection=self._connection))

    def _tell(self, hook: str, *arguments: Any) -> None:
        try:
            getattr(self._hooks, hook)(*arguments)
        except Exception:
            log.exception("the hook %r of %s stumbled", hook, self._client_id)


class _Sending:
    def __init__(self) -> None:
        self.done = threading.Event()

    def wait(self, timeout_s: float) -> bool:
        return self.done.wait(timeout_s)

    @property
    def refused(self) -> bool:
        return False

    @property
    def unheard(self) -> bool:
        return False
