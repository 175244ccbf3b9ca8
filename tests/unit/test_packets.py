"""Packets, held against paho's own idea of them."""

import random
from typing import Any

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PahoProperties

from fpbus.bus.packets import (
    PUBACK,
    PUBLISH,
    PacketReader,
    UnreadablePacketError,
    pack_properties,
    packet_id_of,
    puback,
    publish,
    read_puback,
    read_publish,
)
from fpbus.bus.transport import Delivery, Properties

TEXT = "\ufeff größe \N{SNOWMAN}"


def _by_paho(**parts: Any) -> bytes:
    """Return a PUBLISH as paho makes it, without its fixed header."""
    properties: Any = PahoProperties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho has no hints here
    for name, value in parts.items():
        setattr(properties, name, value)
    packed: bytes = properties.pack()
    return b"\x00\x03a/b\x12\x34" + packed + b"payload"


def _read(body: bytes, first: int = 0x32, *, with_properties: bool = True) -> Delivery:
    return read_publish(first, memoryview(body), 7, with_properties=with_properties)


def test_all_properties_of_a_message_are_read() -> None:
    body = _by_paho(
        PayloadFormatIndicator=1,
        MessageExpiryInterval=70_000,
        ContentType=TEXT,
        ResponseTopic="answers/here",
        CorrelationData=b"\0\xff",
        SubscriptionIdentifier=300_000,
        UserProperty=("traceparent", "00-1"),
    )

    assert _read(body) == Delivery(
        topic="a/b",
        payload=b"payload",
        qos=1,
        retain=False,
        duplicate=False,
        packet_id=0x1234,
        connection=7,
        content_type=TEXT,
        response_topic="answers/here",
        correlation=b"\0\xff",
        user={"traceparent": "00-1"},
        expires_s=70_000,
    )


def test_flags_stand_in_the_first_byte() -> None:
    again = _read(b"\x00\x01a\x00\x09\x00x", 0x3B)
    plain = _read(b"\x00\x01ax", 0x30, with_properties=False)

    assert (again.duplicate, again.qos, again.retain, again.packet_id, again.payload) == (True, 1, True, 9, b"x")
    assert (plain.duplicate, plain.qos, plain.retain, plain.packet_id, plain.payload) == (False, 0, False, 0, b"x")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00",
        b"\x00\x09a\x00\x01\x00",
        b"\x00\x01\xff\x00\x01\x00",
        b"\x00\x01a\x00\x01\x05\x26\x00\x01a",
        b"\x00\x01a\x00\x01\x02\x7f\x00",
        b"\x00\x01a\x00\x01\xff\xff\xff\xff\xff",
        b"\x00\x01a\x00\x01\x03\x03\x00\x09abc",
    ],
)
def test_what_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(UnreadablePacketError):
        _read(body)


def test_the_packet_id_is_known_where_the_rest_is_not() -> None:
    assert packet_id_of(memoryview(b"\x00\x01a\x12\x34\x02\x7f\x00")) == 0x1234


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 64, 100_000])
def test_packets_are_cut_out_of_what_a_socket_gives_in_any_pieces(piece: int) -> None:
    chance = random.Random(piece)
    payloads = [chance.randbytes(chance.choice([0, 1, 120, 130, 20_000])) for _ in range(40)]
    stream = b"".join(
        publish(b"a", payload, 1, number, b"\0", retain=False, duplicate=False) + puback(number)
        for number, payload in enumerate(payloads, 1)
    )
    reader, seen = PacketReader(), list[tuple[int, bytes]]()

    for at in range(0, len(stream), piece):
        seen += [(first, bytes(body)) for first, body in reader.feed(stream[at : at + piece])]

    messages = [_read(body) for first, body in seen if first & 0xF0 == PUBLISH]
    confirmed = [read_puback(memoryview(body)) for first, body in seen if first & 0xF0 == PUBACK]
    assert [message.payload for message in messages] == payloads
    assert confirmed == [(number, 0) for number in range(1, 41)]


def test_a_length_without_an_end_is_no_packet() -> None:
    with pytest.raises(UnreadablePacketError):
        PacketReader().feed(b"\x30\xff\xff\xff\xff\xff")


def test_properties_are_packed_as_paho_packs_them() -> None:
    theirs: Any = PahoProperties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho has no hints here
    theirs.ContentType = TEXT
    theirs.ResponseTopic = "answers"
    theirs.CorrelationData = b"\1" * 200
    theirs.UserProperty = [("a", "b"), ("c", TEXT)]

    ours = Properties(TEXT, "answers", b"\1" * 200, {"a": "b", "c": TEXT})

    assert pack_properties(ours) == theirs.pack()


@pytest.mark.parametrize("size", [0, 1, 120, 121, 16_376, 16_377, 2_097_144, 2_097_145])
def test_a_message_of_any_length_is_read_as_it_was_written(size: int) -> None:
    written = publish(b"a/b", b"x" * size, 1, 9, b"", retain=True, duplicate=True)

    ((first, body),) = PacketReader().feed(written)
    read = read_publish(first, body, 7, with_properties=False)

    assert read == Delivery("a/b", b"x" * size, 1, retain=True, duplicate=True, packet_id=9, connection=7)
