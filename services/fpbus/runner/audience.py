"""Whether anybody hears what is told of short runs: a busy runner need not tell it to nobody.

A broker that speaks MQTT 5 says of each message of QoS 1 whether somebody has subscribed to it. So every now and then
one is sent that way, and as long as the answer is fresh and says nobody, no more of the kind are made. Until there is
an answer everything is told, and so it is for good where a broker gives none.
"""

import time
from typing import Final

from fpbus.bus import Sending

#: Who subscribes while runs are going on misses at most this much of them.
FRESH_S: Final = 0.1


class Audience:
    """What one worker knows of who listens, by pipeline and kind of message."""

    def __init__(self, fresh_s: float = FRESH_S) -> None:
        self._fresh_s = fresh_s
        self._asked: dict[tuple[str, str], tuple[float, Sending]] = {}

    def is_absent(self, pipeline: str, kind: str) -> bool:
        """Tell whether the broker has just said that nobody listens."""
        asked = self._asked.get((pipeline, kind))
        return asked is not None and asked[1].unheard and not self._is_old(asked[0])

    def asks(self, pipeline: str, kind: str) -> bool:
        """Tell whether it is time to ask again."""
        asked = self._asked.get((pipeline, kind))
        return asked is None or self._is_old(asked[0])

    def note(self, pipeline: str, kind: str, sending: Sending) -> None:
        """Remember the message whose receipt will tell."""
        self._asked[pipeline, kind] = (time.monotonic(), sending)

    def _is_old(self, at: float) -> bool:
        return time.monotonic() - at >= self._fresh_s
