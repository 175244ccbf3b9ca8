"""What goes between the dispatcher and the process of its codecs: frames of four bytes of length, then JSON."""

import os
import select
import struct
import time
from typing import Any, Final

import msgspec

from .message import Message

_LENGTH: Final = struct.Struct(">I")


class Asked(msgspec.Struct):
    """Read this message by this codec."""

    codec: str
    message: Message


class Answer(msgspec.Struct, omit_defaults=True):
    """What the codec has read, or why it has not."""

    value: Any = None
    refused: str | None = None


def write_frame(descriptor: int, content: bytes, deadline: float | None = None) -> None:
    """Write one frame to a pipe; raise `OSError` when nobody reads any more, or past the deadline (monotonic clock)."""
    rest = memoryview(_LENGTH.pack(len(content)) + content)
    while rest:
        _wait(None, descriptor, deadline)
        rest = rest[os.write(descriptor, rest[: select.PIPE_BUF]) :]  # so much never blocks once there is room


def read_frame(descriptor: int, deadline: float | None = None) -> bytes:
    """Read one frame; raise `EOFError` where it ends before, `TimeoutError` past the deadline (monotonic clock)."""
    (length,) = _LENGTH.unpack(_read_exactly(descriptor, _LENGTH.size, deadline))
    return _read_exactly(descriptor, length, deadline)


def _read_exactly(descriptor: int, size: int, deadline: float | None) -> bytes:
    content = bytearray()
    while len(content) < size:
        _wait(descriptor, None, deadline)
        chunk = os.read(descriptor, size - len(content))
        if not chunk:
            raise EOFError
        content += chunk
    return bytes(content)


def _wait(reader: int | None, writer: int | None, deadline: float | None) -> None:
    left = None if deadline is None else max(0.0, deadline - time.monotonic())
    readers, writers = [] if reader is None else [reader], [] if writer is None else [writer]
    if not any(select.select(readers, writers, [], left)):
        raise TimeoutError
