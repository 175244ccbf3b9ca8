"""What every transport promises, asked of each: the one in memory, and paho with each broker and protocol.

Where a broker cannot keep a promise, the test is expected to fail there, and the reason stands beside it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from fpbus.bus import BrokerAddress, Delivery, MemoryBroker, MemoryTransport, Properties, Sending, Transport, Will
from fpbus.bus.paho_transport import PahoTransport
from fpbus.bus.transport import Hooks, TransportStoppedError
from support import servers
from support.link import Link
from support.waiting import wait_for

NO_PROPERTIES: Final = "MQTT 3.1.1 has no properties"
NO_REASON: Final = "MQTT 3.1.1 gives no reason: a client that is taken over sees a lost connection, and comes back"
NO_REASON_YET: Final = "Mosquitto tells a client of MQTT 5 since 2.0.12; older ones close the connection without a word"
NO_REDELIVERY: Final = "amqtt never sends an unacknowledged message again on a new connection"
NO_STORED_FILTERS: Final = "amqtt sends retained messages again when a session comes back"

WORLDS: Final = ("memory", "mosquitto-5", "mosquitto-3.1.1", "amqtt")


def everywhere(cannot: dict[str, str] | None = None) -> pytest.MarkDecorator:
    """Run a test in every world; `cannot` tells where the promise is not kept, and why."""
    reasons = cannot or {}
    worlds = [
        pytest.param(name, marks=_expected_to_fail(reasons[name])) if name in reasons else name for name in WORLDS
    ]
    return pytest.mark.parametrize("world", worlds, indirect=True)


def _expected_to_fail(reason: str) -> pytest.MarkDecorator:
    return pytest.mark.xfail(reason=reason, raises=AssertionError, strict=reason != NO_REASON_YET)


@dataclass
class Peer:
    """A client, and everything that its transport has told it."""

    transport: Transport
    cut: Callable[[], None]
    mend: Callable[[], None]
    hung_up: Callable[[], bool]
    will: Will | None = None
    stumbles: bool = False
    messages: list[Delivery] = field(default_factory=list[Delivery])
    sessions: list[bool] = field(default_factory=list[bool])
    losses: list[str] = field(default_factory=list[str])
    ousted: list[str] = field(default_factory=list[str])

    def begin(self) -> None:
        self.transport.start(
            Hooks(
                message=self._on_message,
                connected=self._on_connected,
                disconnected=self.losses.append,
                taken_over=self.ousted.append,
                will=lambda: self.will,
            )
        )

    def start(self) -> "Peer":
        self.begin()
        wait_for(lambda: self.sessions, what=f"the connection of {self.transport.client_id}")
        return self

    def _on_message(self, delivery: Delivery) -> None:
        self.messages.append(delivery)
        if self.stumbles:
            raise RuntimeError("a hook that stumbles")

    def _on_connected(self, session_present: bool) -> None:  # noqa: FBT001 (the hook's own shape)
        self.sessions.append(session_present)
        if self.stumbles:
            raise RuntimeError("a hook that stumbles")

    def reconnect(self) -> None:
        connections = len(self.sessions)
        self.cut()
        wait_for(lambda: self.losses, what="the loss of the connection")
        self.mend()
        wait_for(lambda: len(self.sessions) > connections, what="the next connection")

    def publish(
        self,
        topic: str,
        payload: bytes = b"x",
        *,
        qos: int = 1,
        retain: bool = False,
        properties: Properties | None = None,
    ) -> Sending:
        return self.transport.publish(topic, payload, qos, retain=retain, properties=properties or Properties())

    def say(self, topic: str, *payloads: bytes, retain: bool = False) -> None:
        """Publish with QoS 1 and wait until the broker has all of it, and every ack before it."""
        for sending in [self.publish(topic, payload, retain=retain) for payload in payloads]:
            assert sending.wait(10), f"no receipt for a message on {topic}"

    def fence(self) -> None:
        """Return when the broker has handled all that was sent before."""
        self.say("fence", b"x")

    def witness_end_of(self, other: "Peer") -> None:
        """Return when the broker has noticed that another client is gone; amqtt takes a moment after it hung up."""
        wait_for(other.hung_up, what=f"the end of the connection of {other.transport.client_id}")
        self.fence()
        self.fence()

    def payloads(self) -> list[bytes]:
        return [delivery.payload for delivery in self.messages]

    def heard(self, *payloads: bytes) -> list[Delivery]:
        """Wait for as many messages; they must be these, in this order. Forget and return them."""
        wait_for(lambda: len(self.messages) >= len(payloads), 5, f"{len(payloads)} messages")
        taken, self.messages[:] = list(self.messages), []
        assert [delivery.payload for delivery in taken] == list(payloads)
        return taken

    def ack(self, *deliveries: Delivery) -> None:
        for delivery in deliveries:
            self.transport.ack(delivery)


class World:
    """A broker, and clients that come and go."""

    def __init__(self, make: "Callable[[str, bool], Peer]") -> None:
        self._make = make
        self._peers: list[Peer] = []

    def peer(self, client_id: str, *, durable: bool = False) -> Peer:
        peer = self._make(client_id, durable)
        self._peers.append(peer)
        return peer

    def end(self) -> None:
        for peer in self._peers:
            peer.transport.stop(0.2)
            peer.cut()


def _in_memory() -> Callable[[str, bool], Peer]:
    broker = MemoryBroker()

    def make(client_id: str, durable: bool) -> Peer:  # noqa: FBT001 (one shape for both)
        transport = MemoryTransport(broker, client_id, durable=durable)
        return Peer(transport, transport.lose, transport.come_back, lambda: True)

    return make


def _at(port: int, query: str = "") -> Callable[[str, bool], Peer]:
    def make(client_id: str, durable: bool) -> Peer:  # noqa: FBT001 (one shape for both)
        link = Link(port)
        address = BrokerAddress.parse(f"mqtt://127.0.0.1:{link.port}{query}")
        return Peer(PahoTransport(address, client_id, durable=durable), link.cut, link.mend, lambda: link.idle)

    return make


@pytest.fixture
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    name: str = request.param
    if name == "memory":
        yield World(_in_memory())
        return
    broker = servers.amqtt(tmp_path) if name == "amqtt" else servers.mosquitto(tmp_path)
    query = {"mosquitto-5": "?protocol=5", "mosquitto-3.1.1": "?protocol=3.1.1"}.get(name, "")
    broker.start()
    world = World(_at(broker.port, query))
    yield world
    world.end()
    broker.stop()


@everywhere()
@pytest.mark.parametrize(
    ("topic_filter", "matching"),
    [
        ("a/b", ["a/b"]),
        ("a/+", ["a/b", "a/c"]),
        ("+/b", ["a/b", "x/b"]),
        ("a/+/d", ["a/b/d"]),
        ("a/#", ["a", "a/b", "a/c", "a/b/d"]),
        ("+", ["a"]),
        ("#", ["a", "a/b", "a/c", "a/b/d", "x/b"]),
    ],
)
def test_a_filter_brings_what_it_matches_and_nothing_else(world: World, topic_filter: str, matching: list[str]) -> None:
    reader, writer = world.peer("reader").start(), world.peer("writer").start()
    reader.transport.subscribe({topic_filter: 1, "end": 1})
    reader.fence()

    for topic in ("a", "a/b", "a/c", "a/b/d", "x/b"):
        writer.say(topic, b"x")
    writer.say("end", b"end")
    wait_for(lambda: b"end" in reader.payloads())

    heard = {delivery.topic for delivery in reader.messages}
    assert heard - {"end", "fence"} == set(matching)


@everywhere()
def test_a_receipt_comes_when_the_broker_has_the_message_and_not_before(world: World) -> None:
    writer = world.peer("writer").start()
    assert writer.publish("a").wait(5)
    writer.cut()
    wait_for(lambda: writer.losses)

    sending = writer.publish("a")

    assert not sending.wait(0.2)
    writer.mend()
    assert sending.wait(5)


@everywhere()
def test_a_qos_0_message_without_a_connection_is_lost_and_says_so_at_once(world: World) -> None:
    writer = world.peer("writer").start()
    writer.cut()
    wait_for(lambda: writer.losses)

    sending = writer.publish("a", qos=0)

    assert not sending.wait(0.2)


@everywhere({"amqtt": NO_REDELIVERY})
def test_what_is_not_acked_comes_again_in_order_as_a_duplicate(world: World) -> None:
    reader, writer = world.peer("reader", durable=True).start(), world.peer("writer").start()
    reader.transport.subscribe({"a": 1})
    reader.fence()
    writer.say("a", b"1", b"2", b"3", b"4", b"5")
    first = reader.heard(b"1", b"2", b"3", b"4", b"5")
    reader.ack(*first[:2])
    reader.fence()

    reader.reconnect()

    again = reader.heard(b"3", b"4", b"5")
    assert not any(delivery.duplicate for delivery in first)
    assert all(delivery.duplicate for delivery in again)


@everywhere()
def test_what_was_acked_does_not_come_again(world: World) -> None:
    reader, writer = world.peer("reader", durable=True).start(), world.peer("writer").start()
    reader.transport.subscribe({"a": 1})
    reader.fence()
    writer.say("a", b"1", b"2")
    reader.ack(*reader.heard(b"1", b"2"))
    reader.fence()

    reader.reconnect()

    writer.say("a", b"3")
    reader.heard(b"3")


@everywhere({"amqtt": NO_REDELIVERY})
def test_an_ack_for_an_old_connection_goes_nowhere(world: World) -> None:
    reader, writer = world.peer("reader", durable=True).start(), world.peer("writer").start()
    reader.transport.subscribe({"a": 1})
    reader.fence()
    writer.say("a", b"1")
    of_the_first_connection = reader.heard(b"1")
    reader.reconnect()
    reader.heard(b"1")

    reader.ack(*of_the_first_connection)
    reader.fence()
    reader.reconnect()

    reader.heard(b"1")


@everywhere({"amqtt": NO_REDELIVERY})
def test_an_ack_while_there_is_no_connection_goes_nowhere(world: World) -> None:
    reader, writer = world.peer("reader", durable=True).start(), world.peer("writer").start()
    reader.transport.subscribe({"a": 1})
    reader.fence()
    writer.say("a", b"1")
    (delivery,) = reader.heard(b"1")
    reader.cut()
    wait_for(lambda: reader.losses)

    reader.ack(delivery)
    reader.mend()

    reader.heard(b"1")


@everywhere()
def test_a_durable_client_gets_what_was_published_while_it_was_away(world: World) -> None:
    reader, writer = world.peer("reader", durable=True).start(), world.peer("writer").start()
    reader.transport.subscribe({"a": 1})
    reader.fence()
    reader.cut()
    writer.witness_end_of(reader)

    writer.say("a", b"1", b"2", b"3")
    reader.mend()

    heard = reader.heard(b"1", b"2", b"3")
    assert not any(delivery.duplicate or delivery.retain for delivery in heard)
    assert reader.sessions == [False, True]


@everywhere()
def test_a_durable_client_gets_it_after_a_restart_under_the_same_id(world: World) -> None:
    reader, writer = world.peer("reader", durable=True).start(), world.peer("writer").start()
    reader.transport.subscribe({"a": 1})
    reader.fence()
    reader.transport.stop(5)
    writer.witness_end_of(reader)

    writer.say("a", b"1", b"2", b"3")
    restarted = world.peer("reader", durable=True)
    restarted.transport.subscribe({"a": 1})
    restarted.start()

    restarted.heard(b"1", b"2", b"3")
    assert restarted.sessions == [True]


@everywhere()
def test_any_other_client_begins_anew_with_its_subscriptions(world: World) -> None:
    reader, writer = world.peer("reader").start(), world.peer("writer").start()
    reader.transport.subscribe({"a": 1})
    reader.fence()
    reader.cut()
    writer.witness_end_of(reader)

    writer.say("a", b"while it was away")
    reader.mend()
    wait_for(lambda: len(reader.sessions) == 2)
    reader.fence()
    writer.say("a", b"afterwards")

    reader.heard(b"afterwards")
    assert reader.sessions == [False, False]


@everywhere()
def test_a_new_subscription_gets_the_retained_message_marked_as_such(world: World) -> None:
    reader, writer = world.peer("reader").start(), world.peer("writer").start()
    writer.say("a", b"kept", retain=True)

    reader.transport.subscribe({"a": 1})

    (kept,) = reader.heard(b"kept")
    writer.say("a", b"live", retain=True)
    (live,) = reader.heard(b"live")
    assert (kept.retain, live.retain) == (True, False)


@everywhere({"amqtt": NO_STORED_FILTERS})
def test_a_retained_message_does_not_come_again_because_of_a_reconnect(world: World) -> None:
    reader, writer = world.peer("reader", durable=True).start(), world.peer("writer").start()
    writer.say("a", b"kept", retain=True)
    reader.transport.subscribe({"a": 1})
    reader.ack(*reader.heard(b"kept"))
    reader.fence()

    reader.reconnect()
    reader.fence()

    writer.say("a", b"live")
    reader.heard(b"live")


@everywhere()
def test_an_empty_retained_message_clears_what_was_kept(world: World) -> None:
    reader, writer = world.peer("reader").start(), world.peer("writer").start()
    writer.say("a", b"kept", retain=True)

    writer.say("a", b"", retain=True)
    reader.transport.subscribe({"a": 1})
    reader.fence()

    writer.say("a", b"live")
    reader.heard(b"live")


@everywhere()
def test_the_broker_speaks_the_last_will_of_a_client_that_vanishes(world: World) -> None:
    reader, mortal = world.peer("reader").start(), world.peer("mortal")
    reader.transport.subscribe({"wills": 1})
    reader.fence()
    mortal.will = Will("wills", b"gone")
    mortal.start()

    mortal.cut()

    reader.heard(b"gone")
    late = world.peer("late").start()
    late.transport.subscribe({"wills": 1})
    assert late.heard(b"gone")[0].retain


@everywhere()
def test_a_client_that_says_goodbye_leaves_no_will(world: World) -> None:
    reader, mortal = world.peer("reader").start(), world.peer("mortal")
    reader.transport.subscribe({"wills": 1})
    reader.fence()
    mortal.will = Will("wills", b"gone")
    mortal.start()

    mortal.transport.stop(5)

    reader.say("wills", b"nobody died")
    reader.heard(b"nobody died")


@everywhere()
def test_each_connection_has_the_will_of_its_own_time(world: World) -> None:
    reader, mortal = world.peer("reader").start(), world.peer("mortal")
    reader.transport.subscribe({"wills": 1})
    reader.fence()
    mortal.will = Will("wills", b"first")
    mortal.start()

    mortal.will = Will("wills", b"second")
    mortal.reconnect()
    mortal.cut()

    reader.heard(b"first", b"second")


@everywhere()
def test_500_messages_keep_their_order(world: World) -> None:
    reader, writer = world.peer("reader").start(), world.peer("writer").start()
    reader.transport.subscribe({"a": 1})
    reader.fence()
    numbers = [str(number).encode() for number in range(500)]

    writer.say("a", *numbers)

    wait_for(lambda: len(reader.messages) >= 500)
    reader.heard(*numbers)


@everywhere({"mosquitto-5": NO_REASON_YET, "mosquitto-3.1.1": NO_REASON, "amqtt": NO_REASON})
def test_a_client_that_is_taken_over_says_so_and_stays_away(world: World) -> None:
    first = world.peer("twin", durable=True).start()

    second = world.peer("twin", durable=True).start()

    wait_for(lambda: first.ousted, 3, "the first one's notice")
    assert "twin" in first.ousted[0]
    with pytest.raises(TransportStoppedError):
        first.publish("a")
    second.fence()
    assert (len(first.sessions), len(second.sessions)) == (1, 1)


@everywhere()
def test_what_is_published_without_a_connection_arrives_in_order_when_there_is_one(world: World) -> None:
    reader, writer = world.peer("reader").start(), world.peer("writer").start()
    reader.transport.subscribe({"a": 1})
    reader.fence()
    writer.cut()
    wait_for(lambda: writer.losses)
    numbers = [str(number).encode() for number in range(50)]

    for number in numbers:
        writer.publish("a", number)
    writer.mend()

    wait_for(lambda: len(reader.messages) >= 50)
    reader.heard(*numbers)


@everywhere()
def test_what_is_published_before_the_first_connection_arrives_too(world: World) -> None:
    reader, writer = world.peer("reader").start(), world.peer("writer")
    reader.transport.subscribe({"a": 1})
    reader.fence()

    sendings = [writer.publish("a", payload, properties=Properties(user={"x": "y"})) for payload in (b"1", b"2")]
    writer.start()

    assert all(sending.wait(5) for sending in sendings)
    reader.heard(b"1", b"2")


@everywhere()
def test_stop_sends_what_is_queued(world: World) -> None:
    reader, writer = world.peer("reader").start(), world.peer("writer").start()
    reader.transport.subscribe({"a": 1})
    reader.fence()

    for number in range(1000):
        writer.publish("a", str(number).encode())
    writer.transport.stop(15)

    wait_for(lambda: len(reader.messages) == 1000)


@everywhere()
def test_stop_may_come_twice_and_before_start(world: World) -> None:
    never_started, started = world.peer("never"), world.peer("once").start()

    never_started.transport.stop(1)
    started.transport.stop(1)
    started.transport.stop(1)

    for stopped in (never_started, started):
        with pytest.raises(TransportStoppedError):
            stopped.publish("a")
    assert (started.losses, started.ousted) == ([], [])


@everywhere()
@pytest.mark.parametrize(
    "payload",
    [b"", b"\0\xff\xfe\x00binary\x80", b"\x5a" * 1024 * 1024],
    ids=["empty", "binary", "1 MiB"],
)
def test_a_payload_arrives_as_it_was_sent(world: World, payload: bytes) -> None:
    reader, writer = world.peer("reader").start(), world.peer("writer").start()
    reader.transport.subscribe({"a": 1})
    reader.fence()

    writer.say("a", payload)

    reader.heard(payload)


@everywhere()
def test_a_hook_that_stumbles_does_not_end_the_network_thread(world: World) -> None:
    reader, writer = world.peer("reader"), world.peer("writer").start()
    reader.stumbles = True
    reader.start()
    reader.transport.subscribe({"a": 1})
    reader.fence()

    writer.say("a", b"1", b"2")

    reader.heard(b"1", b"2")


@everywhere()
def test_a_subscription_made_while_connecting_is_not_forgotten(world: World) -> None:
    writer = world.peer("writer").start()
    writer.say("a", b"kept", retain=True)
    readers = [world.peer(f"reader-{number}") for number in range(10)]

    for reader in readers:
        reader.begin()
        reader.transport.subscribe({"a": 1})

    for reader in readers:
        wait_for(reader.payloads)


@everywhere({"mosquitto-3.1.1": NO_PROPERTIES, "amqtt": NO_PROPERTIES})
def test_properties_travel_with_a_message(world: World) -> None:
    reader, writer = world.peer("reader").start(), world.peer("writer").start()
    reader.transport.subscribe({"a": 1})
    reader.fence()
    sent: dict[str, Any] = {
        "content_type": "application/json",
        "response_topic": "answers/here",
        "correlation": b"\0\xffid",
        "user": {"traceparent": "00-x", "naïve": "ключ"},
    }

    assert writer.publish("a", properties=Properties(**sent)).wait(5)

    (delivery,) = reader.heard(b"x")
    assert {name: getattr(delivery, name) for name in sent} == sent


@everywhere()
def test_a_message_with_properties_arrives_with_or_without_them(world: World) -> None:
    reader, writer = world.peer("reader").start(), world.peer("writer").start()
    reader.transport.subscribe({"a": 1})
    reader.fence()

    assert writer.publish("a", properties=Properties("application/json", "answers/here")).wait(5)

    reader.heard(b"x")
