"""What the broker does, tried on topics of our own below `fpbus/doctor/`. Nothing stays there."""

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from fpbus.bus import BrokerAddress, BrokerAwayError, Greeting, Looker, looking_at
from fpbus.schemas import FpbusError, topics
from fpbus.supervisor.rights import Account

from .access import look_at_rights
from .findings import Finding
from .sessions import Session, findings_of, look_at_session

_SLOW_S: Final = 0.2
_ROOM: Final = 64 * 1024  # for topic and properties of the largest message
_LARGEST_TRIED: Final = 8 * 1024 * 1024
_FEW: Final = 10
_FAILURE: Final = 0x80


class BrokerSeen(Struct, frozen=True, kw_only=True):
    """All that was found, and what the session did; None when that could not be tried."""

    findings: list[Finding]
    session: Session | None = None
    on_disk: bool | None = None


def look_at_broker(
    address: BrokerAddress,
    root: str,
    largest: int,
    accounts: Sequence[Account],
    note: Callable[[str], None],
    *,
    own: bool = False,
) -> BrokerSeen:
    """Look at everything; the findings say what was wrong.

    `largest` is the largest message that fpbus takes, in bytes. Of our `own` broker it is known what lies on disk.
    """
    topic = f"{root.strip('/')}/{topics.trial(secrets.token_hex(8))}".lstrip("/")
    found: list[Finding] = []
    on_disk: bool | None = None
    try:
        note("broker: connecting")
        with looking_at(address, _client_id()) as looker:
            on_disk = looker.greeting.speaks_5 if own else None  # ours is Mosquitto, or else amqtt
            found += _greeted(looker.greeting, address, largest + _ROOM)
            echo = _echo(looker, topic)
            found.append(echo)
            if echo.status not in {"fault", "skipped"}:
                note("broker: retained messages and large ones")
                found.append(_retain(address, f"{topic}-kept"))
                found.append(_largest(looker, topic, largest))
        note("broker: rights")
        found += look_at_rights(address, root, accounts)
        if echo.status in {"fault", "skipped"}:
            return BrokerSeen(findings=found)
        note("broker: sessions")
        session = look_at_session(address, topic)
    except FpbusError as error:
        found.append(_fault("connection", str(error), error.hint))
        return BrokerSeen(findings=found)
    found += [*findings_of(session), _persistence(on_disk=on_disk)]
    return BrokerSeen(findings=found, session=session, on_disk=on_disk)


def _ok(name: str, message: str) -> Finding:
    return Finding(area="broker", name=name, status="ok", message=message)


def _warning(name: str, message: str, remedy: str) -> Finding:
    return Finding(area="broker", name=name, status="warning", message=message, remedy=remedy)


def _fault(name: str, message: str, remedy: str | None) -> Finding:
    return Finding(area="broker", name=name, status="fault", message=message, remedy=remedy)


def _persistence(*, on_disk: bool | None) -> Finding:
    """Say what is known; no probe sees it: a broker confirms a message long before it writes it, or without."""
    name = "persistence"
    if on_disk is None:
        message = "Whether the broker writes what it keeps to disk cannot be seen from outside."
        remedy = "Mosquitto: `persistence true` and `autosave_interval 1`, as in compose/mosquitto.conf."
        return Finding(area="broker", name=name, status="skipped", message=message, remedy=remedy)
    if on_disk:
        return _ok(name, "`fpbus up` has Mosquitto write to disk every second; killed, it can lose the last two.")
    message = "The broker of `fpbus up` is amqtt, which keeps messages in memory only."
    return _warning(name, message, "Install mosquitto; `fpbus up` takes it then.")


def _greeted(greeting: Greeting, address: BrokerAddress, packet: int) -> list[Finding]:
    version = "MQTT 5" if greeting.speaks_5 else "MQTT 3.1.1"
    found = [_ok("connection", f"{address} is there and speaks {version}.")]
    if not greeting.speaks_5 and address.protocol is None:
        message = "The broker speaks no MQTT 5: a message or a subscription that it refuses vanishes without a word."
        found.append(_warning("protocol", message, "Use a broker with MQTT 5, such as Mosquitto 2."))
    if greeting.largest_packet is not None and greeting.largest_packet < packet:
        message = f"The broker takes packets of up to {greeting.largest_packet:,} bytes; fpbus sends up to {packet:,}."
        remedy = f"Mosquitto: `max_packet_size {packet}`. Or lower `limits.payload_bytes` in conf/project.yml."
        found.append(_fault("packet size", message, remedy))
    if greeting.receive_maximum is not None:
        found.append(_received_at_once(greeting.receive_maximum))
    return found


def _received_at_once(most: int) -> Finding:
    if most < _FEW:
        message = f"The broker takes {most} unconfirmed messages of a client at a time; that makes services slow."
        return _warning("receive maximum", message, "Mosquitto: `max_inflight_messages 1000`.")
    return _ok("receive maximum", f"The broker takes {most:,} unconfirmed messages of a client at a time.")


def _echo(looker: Looker, topic: str) -> Finding:
    """Publish to ourselves, and see how long it takes."""
    looker.subscribe(topic)
    began = time.monotonic()
    codes = looker.publish(topic, b"echo")
    if codes and codes[0] >= _FAILURE:
        return _not_allowed(topic)
    heard = looker.take(1, 2.0)
    took = time.monotonic() - began
    looker.ack(*heard)
    if not heard:
        return _not_allowed(topic)
    message = f"A message comes back after {took * 1000:.1f} ms."
    if took > _SLOW_S:
        return _warning("echo", message, "Look at the network, and whether the broker is overloaded.")
    return _ok("echo", message)


def _not_allowed(topic: str) -> Finding:
    return Finding(
        area="broker",
        name="echo",
        status="skipped",
        message=f"This account may not publish and hear on {topic}; sessions, queue, retain and sizes were not tried.",
        remedy="`fpbus acl` writes that right, for the services and for `operator`.",
    )


def _retain(address: BrokerAddress, topic: str) -> Finding:
    """Leave a retained message, look whether one who comes later gets it, and clear it."""
    try:
        with looking_at(address, _client_id()) as looker:
            kept = looker.greeting.retains and _keeps(looker, address, topic)
    except BrokerAwayError:  # some end the connection of who asks for it
        kept = False
    if kept:
        return _ok("retain", "Retained messages are kept.")
    message = "The broker keeps no retained message: nobody who comes later sees which services there are."
    return _fault("retain", message, "Mosquitto: `retain_available true`. EMQX: enable its retainer.")


def _keeps(looker: Looker, address: BrokerAddress, topic: str) -> bool:
    try:
        looker.publish(topic, b"kept", retain=True)
        with looking_at(address, _client_id()) as other:
            other.subscribe(topic)
            return any(message.retain for message in other.take(1, 1.0))
    finally:
        looker.publish(topic, b"", retain=True)


def _client_id() -> str:
    return f"fpbus-doctor-{secrets.token_hex(6)}"


def _largest(looker: Looker, topic: str, largest: int) -> Finding:
    """Send ourselves a message of the largest size; a broker may end the connection for it."""
    name = "message size"
    announced = looker.greeting.largest_packet
    if largest > _LARGEST_TRIED or (announced is not None and announced < largest + _ROOM):
        message = f"A message of {largest:,} bytes, as `limits.payload_bytes` allows, was not tried."
        return Finding(area="broker", name=name, status="skipped", message=message)
    try:
        looker.publish(topic, bytes(largest))
        came = any(len(message.payload) == largest for message in looker.take(1, 2.0))
    except FpbusError:
        came = False
    if came:
        return _ok(name, f"A message of {largest:,} bytes comes through.")
    message = f"A message of {largest:,} bytes, as `limits.payload_bytes` allows, does not come through."
    remedy = f"Mosquitto: `max_packet_size {largest + _ROOM}`, and no `message_size_limit` below it."
    return _fault(name, message, remedy)
