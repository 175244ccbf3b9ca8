"""Cut a stream of MQTT into its packets."""

from collections.abc import Iterator
from typing import Final

_PUBACK: Final = 4


class Frames:
    """Remembers the beginning of a packet whose rest has not come yet."""

    def __init__(self) -> None:
        self._rest = b""

    def split(self, said: bytes) -> list[bytes]:
        """Return the packets that are whole by now."""
        return list(self._split(said))

    def _split(self, said: bytes) -> Iterator[bytes]:
        self._rest += said
        while (size := _size(self._rest)) is not None and len(self._rest) >= size:
            yield self._rest[:size]
            self._rest = self._rest[size:]


def is_puback(frame: bytes) -> bool:
    return frame[0] >> 4 == _PUBACK


def _size(data: bytes) -> int | None:
    """Return how long the first packet is, with its header; None when not even that is known."""
    length = 0
    for place, byte in enumerate(data[1:5]):
        length |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return length + place + 2
    return None
