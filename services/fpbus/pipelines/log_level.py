"""A log level for one run, which other runs of the same process do not notice.

Python has one root level for all. It is lowered while a run wants more than it lets through, and a filter on the
root's handlers drops what the other runs would not have logged. A run is known by its context: threads that a
pipeline starts by itself log as if outside of it, unless they are started with a copy of its context.
"""

import contextlib
import logging
import threading
from collections.abc import Generator
from contextvars import ContextVar
from typing import Final

_level: Final[ContextVar[int | None]] = ContextVar("fpbus_log_level", default=None)


@contextlib.contextmanager
def log_level(name: str | None) -> Generator[None]:
    """Log at the level `name`, as `DEBUG`, inside the block; None changes nothing, and costs nothing."""
    if name is None:
        yield
        return
    level = logging.getLevelNamesMapping()[name.upper()]
    before = _level.set(level)
    _gate.open(level)
    try:
        yield
    finally:
        _gate.close(level)
        _level.reset(before)


class _Gate(logging.Filter):
    """Lets through what the root level would, or what the run at hand asks for."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._wanted: list[int] = []
        self._usual = logging.WARNING
        self._handlers: list[logging.Handler] = []

    def open(self, level: int) -> None:
        root = logging.getLogger()
        with self._lock:
            if not self._wanted:
                self._usual = root.level
                self._handlers = list(root.handlers)
                for handler in self._handlers:
                    handler.addFilter(self)
            self._wanted.append(level)
            self._set_root(root)

    def close(self, level: int) -> None:
        root = logging.getLogger()
        with self._lock:
            self._wanted.remove(level)
            self._set_root(root)
            if not self._wanted:
                for handler in self._handlers:
                    handler.removeFilter(self)
                self._handlers = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Judge by the level of the run that logs; outside of one, as the root would have."""
        own = _level.get()
        if own is not None:
            return record.levelno >= own
        return record.levelno >= self._usual or _has_level(record.name)

    def _set_root(self, root: logging.Logger) -> None:
        lowest = min([self._usual, *self._wanted])
        if root.level != lowest:
            root.setLevel(lowest)


def _has_level(name: str) -> bool:
    """Tell whether a logger, or one above it, has a level of its own; then the root's was never asked."""
    logger = logging.getLogger(name)
    while isinstance(logger.parent, logging.Logger):
        if logger.level:
            return True
        logger = logger.parent
    return False


_gate: Final = _Gate()  # as global as the root logger that it guards
