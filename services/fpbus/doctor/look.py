"""One look in a thread of its own, waited for up to a deadline."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from .findings import Area, Finding

T = TypeVar("T")


class Look(Generic[T]):
    """Begins at once. A look that stumbles raises its error where it is waited for."""

    def __init__(self, area: Area, look: Callable[[], T]) -> None:
        self.area: Area = area
        self._look = look
        self._seen: list[T] = []
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=f"look at {area}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._seen.append(self._look())
        except Exception as error:
            self._error = error

    def wait(self, deadline: float, late: Callable[[Finding], T]) -> T:
        """Return what was seen, or what `late` makes of the finding that it took too long."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._error is not None:
            raise self._error
        if self._seen:
            return self._seen[0]
        message = "This took too long, and was given up."
        return late(Finding(area=self.area, name="time", status="fault", message=message))
