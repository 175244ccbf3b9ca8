"""Whether anybody listens, as a real broker tells it."""

from fpbus.bus import Bus, Inbox, open_bus
from fpbus.runner.audience import Audience
from support.servers import Broker

TOPIC = "pipelines/hello/runs/r/nodes/n"


def _told(bus: Bus, fresh_s: float = 60) -> Audience:
    audience = Audience(fresh_s)
    sending = bus.publish(TOPIC, b"{}")
    audience.note("hello", "nodes", sending)
    assert sending.wait(5)
    return audience


def _connected(url: str) -> Bus:
    bus = open_bus(url, "teller")
    bus.start()
    assert bus.wait_connected(5)
    return bus


def test_nobody_is_known_to_be_absent_before_the_broker_says_so(mosquitto: Broker) -> None:
    bus = _connected(mosquitto.url)

    assert not Audience().is_absent("hello", "nodes")
    audience = _told(bus)

    assert audience.is_absent("hello", "nodes")
    assert not audience.asks("hello", "nodes")
    assert not audience.is_absent("hello", "log")
    assert not audience.is_absent("other", "nodes")
    bus.stop()


def test_an_answer_holds_for_a_while(mosquitto: Broker) -> None:
    bus = _connected(mosquitto.url)

    audience = _told(bus, fresh_s=0)

    assert audience.asks("hello", "nodes")
    assert not audience.is_absent("hello", "nodes")
    bus.stop()


def test_who_has_subscribed_is_there(mosquitto: Broker) -> None:
    bus, inbox = _connected(mosquitto.url), Inbox()
    bus.subscribe(inbox, "pipelines/+/runs/+/nodes/+", qos=0)
    bus.publish(TOPIC, b"{}")
    assert inbox.take(1, 5)  # the subscription is in force

    assert not _told(bus).is_absent("hello", "nodes")
    bus.stop()


def test_a_broker_that_does_not_say_is_told_everything(mosquitto: Broker) -> None:
    bus = _connected(f"{mosquitto.url}?protocol=3.1.1")

    assert not _told(bus).is_absent("hello", "nodes")
    bus.stop()
