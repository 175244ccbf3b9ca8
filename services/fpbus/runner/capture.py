"""What a pipeline prints and logs becomes lines of its run's log."""

import io
import logging
import sys
import threading
from collections import deque
from datetime import UTC, datetime
from typing import Final

from fpbus.schemas import LogLine

from .texts import well_formed

_MOST_LINES: Final = 1_000
_LINE_CHARS: Final = 4_000


class LogCapture:
    """Collects lines between two calls of `take`; of a flood the last are kept, and the others counted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: deque[LogLine] = deque(maxlen=_MOST_LINES)
        self._dropped = 0
        self._streams: list[_Stream] = []

    def add(self, level: str, text: str) -> None:
        with self._lock:
            self._dropped += len(self._lines) == _MOST_LINES
            self._lines.append(LogLine(at=datetime.now(UTC), level=level, text=well_formed(text[:_LINE_CHARS])))

    def take(self) -> tuple[list[LogLine], int]:
        """Return what came since the last time, and how many lines were dropped."""
        if not self._lines:
            return [], 0
        with self._lock:
            taken = list(self._lines), self._dropped
            self._lines.clear()
            self._dropped = 0
        return taken

    def end_lines(self) -> None:
        """Take a last line without an end as it is."""
        for stream in self._streams:
            stream.end_line()

    def install(self) -> None:
        """Take over standard output, standard error and logging of this process."""
        self._streams = [_Stream(self, "info"), _Stream(self, "error")]
        sys.stdout, sys.stderr = self._streams
        handler = _Handler(self)
        handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


class _Handler(logging.Handler):
    def __init__(self, capture: LogCapture) -> None:
        super().__init__()
        self._capture = capture

    def emit(self, record: logging.LogRecord) -> None:
        self._capture.add(record.levelname.lower(), self.format(record))


class _Stream(io.TextIOBase):
    """A text stream whose lines go to the log; an unfinished line waits for its end."""

    def __init__(self, capture: LogCapture, level: str) -> None:
        super().__init__()
        self._capture = capture
        self._level = level
        self._rest = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._capture.add(self._level, line)
        if len(self._rest) > _LINE_CHARS:
            self._capture.add(self._level, self._rest)
            self._rest = ""
        return len(text)

    def end_line(self) -> None:
        if self._rest:
            self.write("\n")
