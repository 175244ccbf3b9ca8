"""The bus at work: with a broker that dies, with callers and answerers, with strangers, on either protocol."""

import json
import socket
import statistics
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil
import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PahoProperties

from fpbus.bus import (
    AddressError,
    Answerer,
    BrokerAddress,
    BrokerRefusedError,
    Bus,
    CallError,
    Credentials,
    Delivery,
    Inbox,
    MemoryBroker,
    MemoryTransport,
    NoAnswerError,
    TopicError,
    Will,
    open_bus,
)
from fpbus.bus.paho_transport import PahoTransport
from fpbus.schemas import CallCode, CallFailure, Reply, ServiceStatus, decode, encode, topics
from support import servers
from support.link import Link
from support.servers import Broker
from support.waiting import wait_for

Connect = Callable[..., Bus]

WORLDS: Final = ("memory", "mosquitto-5", "mosquitto-3.1.1", "amqtt")
PROTOCOLS: Final = ("5", "3.1.1")


@pytest.fixture(params=WORLDS)
def connect(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connect]:
    """Return what opens, starts and awaits a bus on one and the same broker."""
    buses: list[Bus] = []
    name: str = request.param
    memory = MemoryBroker()
    broker: Broker | None = None
    if name != "memory":
        broker = servers.amqtt(tmp_path) if name == "amqtt" else servers.mosquitto(tmp_path)
        broker.start()

    def open_one(client_id: str, *, root: str = "") -> Bus:
        if broker is None:
            bus = Bus(MemoryTransport(memory, client_id, durable=False), root)
        else:
            query = "" if name == "amqtt" else f"?protocol={name.removeprefix('mosquitto-')}"
            bus = open_bus(broker.url + query, client_id, root=root)
        buses.append(bus)
        return _started(bus)

    yield open_one
    for bus in buses:
        bus.stop(0.2)
    if broker is not None:
        broker.stop()


@pytest.fixture
def opened() -> Iterator[Callable[[Bus], Bus]]:
    """Return what starts a bus that is stopped at the end."""
    buses: list[Bus] = []

    def start(bus: Bus) -> Bus:
        buses.append(bus)
        bus.start()
        return bus

    yield start
    for bus in buses:
        bus.stop(0.2)


def _started(bus: Bus) -> Bus:
    bus.start()
    assert bus.wait_connected(10), bus.trouble
    return bus


def _heard(bus: Bus, *filters: str) -> Inbox:
    inbox = Inbox()
    bus.subscribe(inbox, *filters)
    bus.publish("fence", b"x").wait(5)
    return inbox


def _serve(bus: Bus, service: str, instance: str, verbs: dict[str, tuple[type[Any], Callable[[Any], Any]]]) -> None:
    """Answer calls, and return when the broker knows."""
    bus.answer(service, instance, verbs)
    bus.publish("fence", b"x").wait(5)


def _take(bus: Bus, inbox: Inbox, count: int, timeout_s: float = 10.0) -> list[Delivery]:
    """Take and acknowledge `count` messages."""
    taken: list[Delivery] = []
    deadline = time.monotonic() + timeout_s
    while len(taken) < count and time.monotonic() < deadline:
        for delivery in inbox.take(count - len(taken), 0.2):
            bus.ack(delivery)
            taken.append(delivery)
    assert len(taken) == count
    return taken


# The root.


def test_the_root_is_put_before_every_topic_and_taken_off_again(connect: Connect) -> None:
    inside, outside = connect("inside", root="/plant-7/"), connect("outside")
    heard_inside, heard_outside = _heard(inside, "a/+"), _heard(outside, "#")

    assert inside.publish("a/b", b"1").wait(5)  # of two publishers the broker may hear either first
    outside.publish("a/b", b"of another bus")
    outside.publish("plant-7/a/b", b"2")

    assert [(delivery.topic, delivery.payload) for delivery in _take(inside, heard_inside, 2)] == [
        ("a/b", b"1"),
        ("a/b", b"2"),
    ]
    topics_outside = {delivery.topic for delivery in _take(outside, heard_outside, 4)}
    assert topics_outside == {"fence", "plant-7/a/b", "a/b"}


def test_a_call_stays_under_its_root(connect: Connect) -> None:
    asker, service, stranger = connect("asker", root="r"), connect("service", root="r"), connect("stranger")
    _serve(service, "greeter", "one", {"greet": (_Name, lambda name: f"hello {name.name}")})
    _serve(stranger, "greeter", "other", {"greet": (_Name, lambda _: "never asked")})

    replies = list(asker.gather("greeter", "greet", _Name(name="Ann"), 1.0))

    assert [(reply.instance, reply.result) for reply in replies] == [("one", "hello Ann")]


# Calls.


class _Name(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str


def test_a_call_is_answered(connect: Connect) -> None:
    asker, service = connect("asker"), connect("service")
    _serve(service, "greeter", "one", {"greet": (_Name, lambda name: f"hello {name.name}")})

    assert asker.call("greeter", "greet", _Name(name="Ann")) == "hello Ann"
    assert asker.call("greeter", "greet", _Name(name="Bo")) == "hello Bo"


def test_an_error_reply_is_raised_with_code_hint_and_field(connect: Connect) -> None:
    asker, service = connect("asker"), connect("service")
    failure = CallFailure(code=CallCode.NOT_FOUND, message="There is no Ann.", hint="Ask Bo.", field="$.name")

    def refuse(_: _Name) -> None:
        raise CallError(failure)

    _serve(service, "greeter", "one", {"greet": (_Name, refuse)})

    with pytest.raises(CallError, match=r"There is no Ann\.") as caught:
        asker.call("greeter", "greet", _Name(name="Ann"))

    assert (caught.value.failure, caught.value.code, caught.value.hint) == (failure, CallCode.NOT_FOUND, "Ask Bo.")


def test_arguments_that_do_not_fit_are_refused_with_the_field(connect: Connect) -> None:
    asker, service = connect("asker"), connect("service")
    _serve(service, "greeter", "one", {"greet": (_Name, lambda _: "hello")})

    with pytest.raises(CallError) as caught:
        asker.call("greeter", "greet")

    assert (caught.value.code, caught.value.failure.field) == (CallCode.INVALID_CALL, "$.name")


def test_a_verb_that_nobody_knows_is_refused_and_the_known_ones_are_told(connect: Connect) -> None:
    asker, service = connect("asker"), connect("service")
    _serve(service, "greeter", "one", {"greet": (_Name, lambda _: "hello")})

    with pytest.raises(CallError) as caught:
        asker.call("greeter", "insult")

    assert (caught.value.code, caught.value.hint) == (CallCode.UNKNOWN_VERB, "greet")


def test_a_verb_that_stumbles_answers_internal_and_the_service_lives_on(connect: Connect) -> None:
    asker, service = connect("asker"), connect("service")

    def stumble(name: _Name) -> str:
        return {"Ann": "hello"}[name.name]

    _serve(service, "greeter", "one", {"greet": (_Name, stumble)})

    with pytest.raises(CallError, match="KeyError: 'Bo'") as caught:
        asker.call("greeter", "greet", _Name(name="Bo"))

    assert caught.value.code == CallCode.INTERNAL
    assert asker.call("greeter", "greet", _Name(name="Ann")) == "hello"


def test_an_answer_that_cannot_be_written_does_not_end_the_service(connect: Connect) -> None:
    asker, service = connect("asker"), connect("service")
    answers: Iterator[Any] = iter([object(), "hello"])
    _serve(service, "greeter", "one", {"greet": (_Name, lambda _: next(answers))})

    with pytest.raises(NoAnswerError):
        asker.call("greeter", "greet", _Name(name="Ann"), 0.5)

    assert asker.call("greeter", "greet", _Name(name="Ann")) == "hello"


def test_without_an_answer_the_deadline_passes_and_the_service_is_named(connect: Connect) -> None:
    asker = connect("asker")

    began = time.monotonic()
    with pytest.raises(NoAnswerError, match=r"The greeter did not answer within 0\.3 s\."):
        asker.call("greeter", "greet", timeout_s=0.3)

    assert 0.3 <= time.monotonic() - began < 3


def test_all_instances_are_gathered_until_the_deadline(connect: Connect) -> None:
    asker = connect("asker")
    for instance in ("one", "two"):
        _serve(connect(instance), "greeter", instance, {"greet": (_Name, f"hello from {instance}, {{0.name}}".format)})

    replies = list(asker.gather("greeter", "greet", _Name(name="Ann"), 1.0))

    assert {reply.instance: reply.result for reply in replies} == {
        "one": "hello from one, Ann",
        "two": "hello from two, Ann",
    }


def test_a_late_reply_is_nobodys(connect: Connect) -> None:
    asker, service = connect("asker"), connect("service")
    asked = threading.Event()
    may_answer = threading.Event()

    def dawdle(name: _Name) -> str:
        asked.set()
        may_answer.wait(10)
        return f"hello {name.name}"

    _serve(service, "greeter", "one", {"greet": (_Name, dawdle)})
    with pytest.raises(NoAnswerError):
        asker.call("greeter", "greet", _Name(name="Ann"), 0.3)
    assert asked.wait(5)

    may_answer.set()

    assert asker.call("greeter", "greet", _Name(name="Bo")) == "hello Bo"


def test_calls_from_many_threads_get_their_own_answers(connect: Connect) -> None:
    asker, service = connect("asker"), connect("service")
    _serve(service, "greeter", "one", {"greet": (_Name, lambda name: name.name)})
    answers: dict[str, str] = {}

    def ask(name: str) -> None:
        answers[name] = asker.call("greeter", "greet", _Name(name=name), 10)

    threads = [threading.Thread(target=ask, args=(f"caller {number}",)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers == {name: name for name in (f"caller {number}" for number in range(20))}


GARBAGE: Final = [
    b"",
    b"\xff\xfe\x00",
    b"null",
    b"[]",
    b"5",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"call_id": 5, "reply_to": []}',
    b'{"name": {"deep": [[[[]]]]}}',
    b'{"reply_to": ""}',
    b'{"reply_to": "a/+/b", "name": "Ann"}',
    b'{"reply_to": "a/\\u0000", "name": "Ann"}',
    b'{"reply_to": "a\\nb", "name": "Ann"}',
    b'{"reply_to": "pipelines/x/run", "name": "Ann"}',
    b'{"reply_to": "fpbus/call/greeter/greet", "name": "Ann"}',
    b'{"reply_to": "$SYS/x", "name": "Ann"}',
    json.dumps({"reply_to": "a/" * 300, "name": "Ann"}).encode(),
    json.dumps({"reply_to": "é" * 40_000, "name": "Ann"}).encode(),
]


def test_garbage_on_a_call_topic_does_no_harm(connect: Connect) -> None:
    asker, service = connect("asker"), connect("service")
    losses: list[bool] = []
    service.on_session(losses.append)
    _serve(service, "greeter", "one", {"greet": (_Name, lambda name: f"hello {name.name}")})

    for payload in GARBAGE:
        asker.publish(topics.call("greeter", "greet"), payload)

    assert asker.call("greeter", "greet", _Name(name="Ann")) == "hello Ann"
    assert losses == []


def test_garbage_on_a_reply_topic_does_no_harm(connect: Connect) -> None:
    asker, service = connect("asker"), connect("service")

    def tease(name: _Name) -> str:
        for payload in GARBAGE:
            service.publish(topics.reply("asker"), payload)
            service.publish(topics.reply("asker"), payload, correlation=b"\xff\0")
        return f"hello {name.name}"

    _serve(service, "greeter", "one", {"greet": (_Name, tease)})

    assert asker.call("greeter", "greet", _Name(name="Ann")) == "hello Ann"


def test_a_reply_with_the_right_correlation_that_cannot_be_read_is_skipped(mosquitto: Broker) -> None:
    asker, service = _started(open_bus(mosquitto.url, "asker")), _started(open_bus(mosquitto.url, "service"))
    calls = _heard(service, topics.calls_to("greeter"))

    def answer_badly_first() -> None:
        (call,) = _take(service, calls, 1)
        service.publish(topics.reply("asker"), b"{", correlation=call.correlation)
        reply = Reply(service="greeter", verb="greet", instance="one", result="hello")
        service.reply(topics.reply("asker"), reply, call.correlation)

    answering = threading.Thread(target=answer_badly_first)
    answering.start()

    assert asker.call("greeter", "greet") == "hello"
    answering.join()
    asker.stop()
    service.stop()


@pytest.mark.parametrize("asked_in", PROTOCOLS)
@pytest.mark.parametrize("answered_in", PROTOCOLS)
def test_a_call_crosses_from_one_protocol_to_the_other(mosquitto: Broker, asked_in: str, answered_in: str) -> None:
    asker = _started(open_bus(f"{mosquitto.url}?protocol={asked_in}", "asker"))
    service = _started(open_bus(f"{mosquitto.url}?protocol={answered_in}", "service"))
    _serve(service, "greeter", "one", {"greet": (_Name, lambda name: f"hello {name.name}")})

    assert asker.call("greeter", "greet", _Name(name="Ann")) == "hello Ann"
    asker.stop()
    service.stop()


def test_a_call_made_before_the_first_connection_is_answered_by_a_broker_that_speaks_3_1_1_only(amqtt: Broker) -> None:
    service = _started(open_bus(amqtt.url, "service"))
    _serve(service, "greeter", "one", {"greet": (_Name, lambda name: f"hello {name.name}")})
    asker = open_bus(amqtt.url, "asker")
    asker.start()

    assert asker.call("greeter", "greet", _Name(name="Ann")) == "hello Ann"
    asker.stop()
    service.stop()


def test_a_device_of_3_1_1_calls_with_all_it_needs_in_the_body(mosquitto: Broker) -> None:
    service = _started(open_bus(mosquitto.url, "service"))
    _serve(service, "greeter", "one", {"greet": (_Name, lambda name: f"hello {name.name}")})
    device = _started(open_bus(f"{mosquitto.url}?protocol=3.1.1", "device"))
    inbox = _heard(device, "devices/7/answers")

    device.publish(
        topics.call("greeter", "greet"),
        encode({"name": "Ann", "reply_to": "devices/7/answers", "call_id": "c-1"}),
    )

    (delivery,) = _take(device, inbox, 1)
    reply = decode(delivery.payload, Reply)
    assert (reply.call_id, reply.result, reply.instance) == ("c-1", "hello Ann", "one")
    device.stop()
    service.stop()


def test_an_answerer_can_be_asked_without_anyone_waiting_for_the_reply(connect: Connect) -> None:
    asked: list[str] = []
    service = connect("service")
    answerer = Answerer(service, "greeter", "one", {"greet": (_Name, lambda name: asked.append(name.name))})
    inbox = _heard(service, topics.calls_to("greeter"))
    service.publish(topics.call("greeter", "greet"), b'{"name": "Ann"}')

    for delivery in _take(service, inbox, 1):
        answerer.answer(delivery)

    assert asked == ["Ann"]


def test_stop_ends_the_thread_that_answers(mosquitto: Broker) -> None:
    service = _started(open_bus(mosquitto.url, "service"))
    _serve(service, "greeter", "one", {})

    service.stop()

    wait_for(lambda: not [thread for thread in threading.enumerate() if thread.name == "calls to greeter"])


# Topics that would poison a connection.


@pytest.mark.parametrize("topic", ["", "a/+", "a/#", "a\0", "a\nb", "a/" * 200, "\ud800", "a" * 70_000])
def test_nothing_is_published_on_a_topic_that_the_broker_would_hang_up_for(connect: Connect, topic: str) -> None:
    bus = connect("careless")
    inbox = _heard(bus, "a")

    with pytest.raises(TopicError, match="No message can be published on the topic"):
        bus.publish(topic, b"x")

    bus.publish("a", b"still here")
    assert _take(bus, inbox, 1)[0].payload == b"still here"


def test_a_message_that_paho_dislikes_and_mqtt_does_not_arrives_like_any_other(mosquitto: Broker) -> None:
    bus = _started(open_bus(mosquitto.url, "reader", durable=True))
    inbox = _heard(bus, "a")
    writer = paho.Client(CallbackAPIVersion.VERSION2, "writer", protocol=paho.MQTTv5)
    writer.connect("127.0.0.1", mosquitto.port)
    writer.loop_start()
    byte_order_mark = PahoProperties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho has no hints here
    byte_order_mark.UserProperty = ("note", "\ufeffhello")

    writer.publish("a", b"odd", 1, properties=byte_order_mark).wait_for_publish(5)
    writer.publish("a", b"plain", 1).wait_for_publish(5)

    assert [delivery.payload for delivery in _take(bus, inbox, 2)] == [b"odd", b"plain"]
    writer.disconnect()
    writer.loop_stop()
    bus.stop()


# Connections that come and go.


def test_a_client_comes_back_for_ever_when_the_broker_is_killed_and_started_again(
    mosquitto: Broker, opened: Callable[[Bus], Bus]
) -> None:
    reader = opened(open_bus(mosquitto.url, "reader", durable=True))
    writer = opened(open_bus(mosquitto.url, "writer"))
    assert reader.wait_connected(5)
    assert writer.wait_connected(5)
    inbox = _heard(reader, "a")

    for life in (b"first", b"second", b"third"):
        mosquitto.kill()
        wait_for(lambda: not reader.connected and not writer.connected)
        waiting = writer.publish("while it is dead", b"x")
        assert not waiting.wait(0.1)
        mosquitto.start()
        assert waiting.wait(20)
        assert reader.wait_connected(20)
        assert reader.publish("fence", b"x").wait(5)
        writer.publish("a", life)
        assert _take(reader, inbox, 1)[0].payload == life


def test_a_client_whose_broker_is_not_there_keeps_trying_without_a_busy_loop(opened: Callable[[Bus], Bus]) -> None:
    port = servers.free_port()
    me = psutil.Process()
    before = me.cpu_times()

    bus = opened(open_bus(f"mqtt://127.0.0.1:{port}", "patient"))
    attempts = _count_connections(port, seconds=2.0)

    after = me.cpu_times()
    assert 2 <= attempts <= 12
    assert (after.user + after.system) - (before.user + before.system) < 1.0
    assert not bus.connected


def _count_connections(port: int, seconds: float) -> int:
    """Accept and hang up for a while."""
    count = 0
    deadline = time.monotonic() + seconds
    with socket.create_server(("127.0.0.1", port)) as listener:
        while (left := deadline - time.monotonic()) > 0:
            listener.settimeout(left)
            try:
                listener.accept()[0].close()
            except TimeoutError:
                break
            count += 1
    return count


def test_a_refused_connection_is_told_and_tried_again_until_there_is_a_broker(
    tmp_path: Path, opened: Callable[[Bus], Bus]
) -> None:
    broker = servers.mosquitto(tmp_path)
    bus = opened(open_bus(broker.url, "early"))
    sending = bus.publish("a", b"x")
    wait_for(lambda: "refused" in bus.trouble)
    assert not bus.connected

    broker.start()

    assert bus.wait_connected(20)
    assert sending.wait(5)
    bus.stop()
    broker.stop()


def test_a_wrong_password_is_told_in_words(tmp_path: Path, opened: Callable[[Bus], Bus]) -> None:
    broker = servers.mosquitto(tmp_path)
    config = tmp_path / "mosquitto.conf"
    config.write_text(config.read_text().replace("allow_anonymous true", "allow_anonymous false"))
    broker.start()
    bus = opened(open_bus(broker.url.replace("//", "//ann:secret@"), "stranger"))

    wait_for(lambda: bus.trouble.startswith("refused: "))

    assert "authorized" in bus.trouble or "password" in bus.trouble
    assert "secret" not in bus.trouble
    with pytest.raises(BrokerRefusedError, match="does not let in the user 'ann' with this password"):
        bus.wait_connected(5)
    broker.stop()


def test_a_session_listener_hears_whether_the_broker_still_had_the_session(mosquitto: Broker) -> None:
    link = Link(mosquitto.port)
    bus = open_bus(f"mqtt://127.0.0.1:{link.port}", "durable", durable=True)
    sessions: list[bool] = []
    bus.on_session(sessions.append)
    _started(bus)

    link.cut()
    wait_for(lambda: not bus.connected)
    link.mend()
    wait_for(lambda: len(sessions) == 2)

    assert sessions == [False, True]
    bus.stop()
    link.close()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_subscription_that_never_reached_the_broker_is_asked_for_again(mosquitto: Broker, protocol: str) -> None:
    link = Link(mosquitto.port)
    bus = _started(open_bus(f"mqtt://127.0.0.1:{link.port}?protocol={protocol}", "reader", durable=True))
    _heard(bus, "early")
    link.swallow()
    inbox = Inbox()
    bus.subscribe(inbox, "late")
    wait_for(lambda: link.swallowed)

    link.cut()
    wait_for(lambda: not bus.connected)
    link.mend()
    assert bus.wait_connected(10)
    bus.publish("fence", b"x").wait(5)
    bus.publish("late", b"heard")

    assert _take(bus, inbox, 1)[0].payload == b"heard"
    bus.stop()
    link.close()


def test_a_client_that_is_told_that_it_was_taken_over_stays_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        bus = open_bus(f"mqtt://127.0.0.1:{port}", "twin")
        reasons: list[str] = []
        bus.on_taken_over(reasons.append)
        bus.start()
        client, _ = listener.accept()
        with client:
            client.recv(1024)
            client.sendall(b"\x20\x03\x00\x00\x00")  # CONNACK
            assert bus.wait_connected(5)
            client.sendall(b"\xe0\x01\x8e")  # DISCONNECT: session taken over
        wait_for(lambda: reasons)
        listener.settimeout(1.0)

        with pytest.raises(TimeoutError):
            listener.accept()

    assert reasons == ["another client has connected as twin"]
    assert not bus.connected


def test_the_broker_is_told_what_is_too_long_for_it_to_send() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        bus = open_bus(f"mqtt://127.0.0.1:{listener.getsockname()[1]}", "limited")
        bus.start()
        client, _ = listener.accept()
        with client:
            connect = client.recv(1024)
        bus.stop(1)

    maximum_packet_size = 0x27
    assert bytes([maximum_packet_size]) + (268_435_455).to_bytes(4) in connect


def test_stop_while_connecting_leaves_no_connection_and_no_will(mosquitto: Broker) -> None:
    observer = _started(open_bus(mosquitto.url, "observer"))
    wills = _heard(observer, "wills")
    for number in range(20):
        bus = Bus(PahoTransport(BrokerAddress.parse(mosquitto.url), f"hasty-{number}", durable=False), "", _Mortal())
        bus.start()
        bus.stop(1)

    observer.publish("wills", b"the end")

    (last,) = [delivery for delivery in _drain(observer, wills, b"the end") if delivery.payload != b"here"]
    assert last.payload == b"the end"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("mqtt hasty")]
    observer.stop()


def _drain(bus: Bus, inbox: Inbox, last: bytes) -> list[Delivery]:
    taken: list[Delivery] = []
    while not taken or taken[-1].payload != last:
        taken += _take(bus, inbox, 1)
    return taken


class _Mortal:
    def will(self) -> Will:
        return Will("wills", b"gone")

    def birth(self) -> Will:
        return Will("wills", b"here")


class _Moody:
    """Changes its state while its birth is on the way, as another thread may."""

    def __init__(self) -> None:
        self._births = iter([b"init", b"ready", b"ready"])

    def will(self) -> Will:
        return Will("state", b"gone")

    def birth(self) -> Will:
        return Will("state", next(self._births))


def test_a_state_that_changes_during_the_birth_is_the_one_that_stays(mosquitto: Broker) -> None:
    moody = Bus(PahoTransport(BrokerAddress.parse(mosquitto.url), "moody", durable=False), "", _Moody())

    _started(moody)
    moody.publish("fence", b"x").wait(5)

    observer = _started(open_bus(mosquitto.url, "observer"))
    assert _take(observer, _heard(observer, "state"), 1)[0].payload == b"ready"
    moody.stop()
    observer.stop()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_birth_gets_through_though_as_many_messages_wait_as_may(
    mosquitto: Broker, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fpbus.bus.paho_transport.MOST_UNCONFIRMED", 500)
    link = Link(mosquitto.port)
    link.cut()
    address = BrokerAddress.parse(f"mqtt://127.0.0.1:{link.port}?protocol={protocol}")
    bus = Bus(PahoTransport(address, "busy", durable=False), "", _Mortal())
    for _ in range(500):
        bus.publish("a", b"")
    bus.start()
    blocked = threading.Thread(target=bus.publish, args=("a", b"one too many"))
    blocked.start()

    link.mend()

    blocked.join(30)
    assert not blocked.is_alive()
    bus.stop(30)
    link.close()


# The socket.


def test_no_message_waits_for_nagle(mosquitto: Broker) -> None:
    bus = _started(open_bus(mosquitto.url, "client"))
    connections = [
        one for one in psutil.Process().net_connections("tcp") if one.raddr and one.raddr.port == mosquitto.port
    ]

    assert connections
    for connection in connections:
        with socket.socket(fileno=connection.fd) as sock:
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            sock.detach()
    bus.stop()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_round_trip_takes_a_few_milliseconds(mosquitto: Broker, protocol: str) -> None:
    asker = _started(open_bus(f"{mosquitto.url}?protocol={protocol}", "asker"))
    service = _started(open_bus(f"{mosquitto.url}?protocol={protocol}", "service"))
    _serve(service, "greeter", "one", {"greet": (_Name, lambda name: name.name)})
    asker.call("greeter", "greet", _Name(name="warm-up"))

    took: list[float] = []
    for _ in range(51):
        began = time.perf_counter()
        asker.call("greeter", "greet", _Name(name="Ann"))
        took.append(time.perf_counter() - began)

    assert statistics.median(took) < 0.040  # two hops that wait for Nagle take 80 ms and more
    asker.stop()
    service.stop()


# Addresses.


@pytest.mark.parametrize(
    "url",
    [
        "http://ann:secret@host",
        "ann:secret@host",
        "mqtt://ann:secret@host:port",
        "mqtt://ann:secret@host:99999",
        "mqtt://ann:secret@[::1",
        "mqtt://ann:secret@host:1883?protocol=4",
        "mqtt://ann:secret://more@host:x",
        "mqtt://ann:sec/secret@host",
        "mqtt://ann:secret@\u2100host",
        "",
        "mqtt://",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(AddressError) as refusal:
        open_bus(url, "client")

    assert "secret" not in str(refusal.value)
    assert "secret" not in "".join(traceback.format_exception(refusal.value))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mqtt://host", BrokerAddress("host", 1883)),
        ("mqtts://host", BrokerAddress("host", 8883, tls=True)),
        ("ws://host/bus", BrokerAddress("host", 80, websockets=True, path="/bus")),
        ("wss://host:9443", BrokerAddress("host", 9443, tls=True, websockets=True)),
        (
            "mqtt://ann:p%40ss@host:1?protocol=3.1.1",
            BrokerAddress("host", 1, credentials=Credentials(username="ann", password="p@ss"), protocol=4),
        ),
        ("mqtt://[::1]:1884?protocol=5", BrokerAddress("::1", 1884, protocol=5)),
    ],
)
def test_a_url_is_read(url: str, expected: BrokerAddress) -> None:
    assert BrokerAddress.parse(url) == expected


def test_an_address_is_written_without_its_password() -> None:
    address = BrokerAddress.parse("mqtts://ann:secret@host:1")

    assert "secret" not in f"{address!s} {address!r}"


# The embedded broker.


def test_the_embedded_broker_listens_on_loopback_only(amqtt: Broker) -> None:
    assert amqtt.process is not None

    listening = [one for one in psutil.Process(amqtt.process.pid).net_connections() if one.status == psutil.CONN_LISTEN]

    assert {(one.laddr.ip, one.laddr.port) for one in listening} == {("127.0.0.1", amqtt.port)}


@pytest.mark.parametrize("credentials", ["", "ann@", "ann:secret@"])
@pytest.mark.parametrize("query", ["", "?protocol=3.1.1"])
def test_the_embedded_broker_lets_everyone_in(amqtt: Broker, credentials: str, query: str) -> None:
    bus = open_bus(amqtt.url.replace("//", f"//{credentials}") + query, "anyone")

    _started(bus)
    bus.stop()


def test_the_embedded_broker_keeps_messages_for_a_durable_client_that_is_away(amqtt: Broker) -> None:
    first = _started(open_bus(amqtt.url, "reader", durable=True))
    _heard(first, "a")
    first.stop()
    writer = _started(open_bus(amqtt.url, "writer"))
    writer.publish("fence", b"x").wait(5)
    for number in range(50):
        assert writer.publish("a", str(number).encode()).wait(5)

    second = open_bus(amqtt.url, "reader", durable=True)
    inbox = Inbox()
    second.subscribe(inbox, "a")
    _started(second)

    deliveries = _take(second, inbox, 50)
    assert [delivery.payload for delivery in deliveries] == [str(number).encode() for number in range(50)]
    assert not any(delivery.retain for delivery in deliveries)
    writer.stop()
    second.stop()


def test_the_embedded_broker_refuses_mqtt_5_whatever_the_connection_carries(amqtt: Broker) -> None:
    presence_and_session = Bus(
        PahoTransport(BrokerAddress.parse(amqtt.url.replace("//", "//ann:pw@")), "full", durable=True), "", _Mortal()
    )

    _started(presence_and_session)

    presence_and_session.stop()


def test_a_service_status_is_retained_and_replaced_by_the_will(mosquitto: Broker) -> None:
    link = Link(mosquitto.port)
    address = BrokerAddress.parse(f"mqtt://127.0.0.1:{link.port}")
    service = _started(Bus(PahoTransport(address, "service", durable=False), "r", _Statuses()))
    observer = _started(open_bus(mosquitto.url, "observer", root="r"))
    inbox = _heard(observer, topics.PRESENCE)

    born = decode(_take(observer, inbox, 1)[0].payload, ServiceStatus)
    link.cut()
    gone = decode(_take(observer, inbox, 1)[0].payload, ServiceStatus)

    assert (born.online, gone.online) == (True, False)
    service.stop(0.2)
    observer.stop()
    link.close()


class _Statuses:
    def _status(self, *, online: bool) -> Will:
        status = {"online": online, "state": "ready" if online else "gone", "since": "2026-11-22T10:15:00Z"}
        who = {"type": "service_status", "role": "runner", "instance": "a", "version": "1"}
        return Will(topics.presence("runner", "a"), encode(status | who))

    def will(self) -> Will:
        return self._status(online=False)

    def birth(self) -> Will:
        return self._status(online=True)
