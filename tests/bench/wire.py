"""An MQTT 3.1.1 client that costs little of the CPU that is measured: no threads, many packets at once."""

import socket
from collections.abc import Sequence
from typing import Final, NamedTuple, Self
from urllib.parse import urlsplit

_CONNECT: Final = b"\x00\x04MQTT\x04\x02\x00\x00"
_CONNACK: Final = b"\x20\x02\x00\x00"
_PACKET_IDS: Final = 65_535
_WITHIN_S: Final = 60.0


class Message(NamedTuple):
    """What came."""

    topic: str
    payload: bytes


class Wire:
    """A connection with a clean session. Everything goes with QoS 1."""

    def __init__(self, url: str, client_id: str) -> None:
        address = urlsplit(url)
        self._socket = socket.create_connection((address.hostname, address.port), _WITHIN_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""
        self._published = 0
        self.confirmed = 0
        self._socket.sendall(_packet(0x10, _CONNECT + _text(client_id)))
        assert self._socket.recv(4) == _CONNACK, "the broker does not take the connection"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def subscribe(self, topic_filter: str) -> None:
        self._socket.sendall(_packet(0x82, b"\x00\x01" + _text(topic_filter) + b"\x01"))
        assert self._socket.recv(5) == b"\x90\x03\x00\x01\x01", f"no subscription to {topic_filter}"

    def publish(self, topic: str, payloads: Sequence[bytes]) -> None:
        head = _text(topic)
        first = self._published
        self._published += len(payloads)
        self._socket.sendall(
            b"".join(
                _packet(0x32, head + ((first + number) % _PACKET_IDS + 1).to_bytes(2) + payload)
                for number, payload in enumerate(payloads)
            )
        )

    def read(self) -> list[Message]:
        """Wait for packets; return and acknowledge the messages among them, and count what was confirmed."""
        said = self._socket.recv(262_144)
        assert said, "the broker hung up"
        packets, self._rest = _cut(self._rest + said)
        messages: list[Message] = []
        acks: list[bytes] = []
        for kind, body in packets:
            if kind == 0x40:
                self.confirmed += 1
            else:
                end = int.from_bytes(body[:2]) + 2
                messages.append(Message(body[2:end].decode(), body[end + 2 :]))
                acks.append(b"\x40\x02" + body[end : end + 2])
        if acks:
            self._socket.sendall(b"".join(acks))
        return messages


def _text(text: str) -> bytes:
    return len(text.encode()).to_bytes(2) + text.encode()


def _packet(kind: int, body: bytes) -> bytes:
    size, left = b"", len(body)
    while left >= 128:
        size, left = size + bytes([left % 128 | 128]), left // 128
    return bytes([kind]) + size + bytes([left]) + body


def _cut(said: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Return the kind and the body of each whole packet, and the beginning of the next."""
    packets: list[tuple[int, bytes]] = []
    at, end = 0, len(said)
    while at + 1 < end:
        length, shift, body = 0, 0, at + 1
        while body < end:
            length |= (said[body] & 127) << shift
            shift, body = shift + 7, body + 1
            if said[body - 1] < 128:
                break
        else:
            break
        if body + length > end:
            break
        packets.append((said[at] & 0xF0, said[body : body + length]))
        at = body + length
    return packets, said[at:]
