"""The MQTT packets that come and go by the thousand, read and made without detours.

paho asks a socket for each packet in at least three pieces and makes objects of all properties; for a service that
lives on short messages that is most of its work. Sections are those of the MQTT 5 specification; 3.1.1 has the same
packets without properties. Everything that is rare is left to paho.
"""

from typing import Any, Final

from .transport import Delivery, Properties

PUBLISH: Final = 0x30
PUBACK: Final = 0x40

_CONTENT_TYPE: Final = 0x03
_RESPONSE_TOPIC: Final = 0x08
_CORRELATION: Final = 0x09
_USER: Final = 0x26
_EXPIRY: Final = 0x02
_FORMAT: Final = 0x01
_SUBSCRIPTION: Final = 0x0B
_LENGTH_BYTES: Final = 4

Packet = tuple[int, memoryview]


class UnreadablePacketError(ValueError):
    """Bytes that are no such packet."""


class PacketReader:
    """Cuts what a socket gives into packets."""

    def __init__(self) -> None:
        self._begun = bytearray()
        self._wanted = 0

    def feed(self, arrived: bytes) -> list[Packet]:
        """Return first byte and content of each packet that is complete by now. Raises `UnreadablePacketError`."""
        if self._begun:
            self._begun += arrived
            if len(self._begun) < self._wanted:
                return []
            view = memoryview(self._begun)
        else:
            view = memoryview(arrived)
        packets: list[Packet] = []
        at, size = 0, len(view)
        while True:
            begin, end = _bounds(view, at, size)
            if end > size:
                break
            packets.append((view[at], view[begin:end]))
            at = end
        self._begun = bytearray(view[at:])
        self._wanted = end - at
        return packets


def _bounds(view: memoryview, at: int, size: int) -> tuple[int, int]:
    """Return where the content of a packet begins and ends (2.1.4); an end beyond `size` where that is not known."""
    length, shift, place = 0, 0, at + 1
    while place < size:
        byte = view[place]
        length |= (byte & 0x7F) << shift
        place += 1
        if byte < 0x80:
            return place, place + length
        shift += 7
        if shift == 7 * _LENGTH_BYTES:
            raise UnreadablePacketError("the length of a packet has no end")
    return place, size + 1


def read_publish(first: int, body: memoryview, connection: int, *, with_properties: bool) -> Delivery:
    """Return the message of a PUBLISH (3.3). Raises `UnreadablePacketError`."""
    try:
        topic, at = _text(body, 0)
        qos, packet_id = (first >> 1) & 3, 0
        if qos:
            packet_id, at = body[at] << 8 | body[at + 1], at + 2
        more: dict[str, Any] = {}
        if with_properties:
            length, at = _number(body, at)
            if length:
                more = _properties(body, at, at + length)
                at += length
    except (IndexError, UnicodeDecodeError) as error:
        raise UnreadablePacketError(str(error)) from error
    return Delivery(topic, bytes(body[at:]), qos, bool(first & 1), bool(first & 8), packet_id, connection, **more)


def packet_id_of(body: memoryview) -> int:
    """Return the packet id of a PUBLISH with QoS 1 whose other parts may not be readable."""
    at = 2 + (body[0] << 8 | body[1])
    return body[at] << 8 | body[at + 1]


def read_puback(body: memoryview) -> tuple[int, int]:
    """Return packet id and reason code of a PUBACK (3.4)."""
    return body[0] << 8 | body[1], body[2] if len(body) > 2 else 0


def publish(
    topic: bytes, payload: bytes, qos: int, packet_id: int, properties: bytes, *, retain: bool, duplicate: bool
) -> bytes:
    """Return a PUBLISH; `properties` with their length in front, or nothing for MQTT 3.1.1."""
    first = PUBLISH | duplicate << 3 | qos << 1 | retain
    number = packet_id.to_bytes(2) if qos else b""
    length = 2 + len(topic) + len(number) + len(properties) + len(payload)
    return b"".join(
        (bytes((first,)), _variable(length), len(topic).to_bytes(2), topic, number, properties, payload),
    )


def puback(packet_id: int) -> bytes:
    """Return a PUBACK that says yes."""
    return b"\x40\x02" + packet_id.to_bytes(2)


def pack_properties(properties: Properties) -> bytes:
    """Return the properties of a PUBLISH, with their length in front (2.2.2)."""
    parts = bytearray()
    for identifier, text in ((_CONTENT_TYPE, properties.content_type), (_RESPONSE_TOPIC, properties.response_topic)):
        if text:
            parts += bytes((identifier,)) + _prefixed(text.encode())
    if properties.correlation:
        parts += bytes((_CORRELATION,)) + _prefixed(properties.correlation)
    for name, value in properties.user.items():
        parts += bytes((_USER,)) + _prefixed(name.encode()) + _prefixed(value.encode())
    return _variable(len(parts)) + bytes(parts)


def _properties(body: memoryview, at: int, end: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    user: dict[str, str] = {}
    while at < end:
        identifier, at = body[at], at + 1
        if identifier == _USER:
            name, at = _text(body, at)
            user[name], at = _text(body, at)
        elif identifier == _CONTENT_TYPE:
            found["content_type"], at = _text(body, at)
        elif identifier == _RESPONSE_TOPIC:
            found["response_topic"], at = _text(body, at)
        elif identifier == _CORRELATION:
            correlation, at = _bytes(body, at)
            found["correlation"] = bytes(correlation)
        elif identifier == _EXPIRY:
            found["expires_s"], at = int.from_bytes(body[at : at + 4]), at + 4
        elif identifier == _FORMAT:
            at += 1
        elif identifier == _SUBSCRIPTION:
            _, at = _number(body, at)
        else:
            raise UnreadablePacketError(f"there is no property 0x{identifier:02x}")
    if at != end or end > len(body):
        raise UnreadablePacketError("the properties are longer than they say")
    return found | {"user": user} if user else found


def _text(body: memoryview, at: int) -> tuple[str, int]:
    content, at = _bytes(body, at)
    return str(content, "utf-8"), at


def _bytes(body: memoryview, at: int) -> tuple[memoryview, int]:
    begin = at + 2
    end = begin + (body[at] << 8 | body[at + 1])
    if end > len(body):
        raise UnreadablePacketError("a text is longer than its packet")
    return body[begin:end], end


def _number(body: memoryview, at: int) -> tuple[int, int]:
    """Read a variable byte integer (1.5.5); return it, and where it ends."""
    number = body[at]
    if number < 0x80:
        return number, at + 1
    number, shift = number & 0x7F, 7
    while shift < 7 * _LENGTH_BYTES:
        at += 1
        number |= (body[at] & 0x7F) << shift
        if body[at] < 0x80:
            return number, at + 1
        shift += 7
    raise UnreadablePacketError("a number has no end")


def _variable(number: int) -> bytes:
    """Write a variable byte integer."""
    if number < 0x80:
        return bytes((number,))
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def _prefixed(content: bytes) -> bytes:
    return len(content).to_bytes(2) + content
