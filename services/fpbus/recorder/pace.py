"""How often the last run of a pipeline is told."""


class Pace:
    """Lets each name through at most once in `period_s` seconds, and what it held back in the end.

    Times are seconds of one clock that only goes forward.
    """

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._waiting: set[str] = set()
        self._free_at: dict[str, float] = {}

    def want(self, name: str) -> None:
        self._waiting.add(name)

    def due(self, now: float) -> list[str]:
        """Return the names that may be told now."""
        return sorted(name for name in self._waiting if self._free_at.get(name, now) <= now)

    def told(self, name: str, now: float) -> None:
        self._waiting.discard(name)
        self._free_at = {other: at for other, at in self._free_at.items() if at > now}
        self._free_at[name] = now + self._period_s

    def wait_s(self, now: float) -> float | None:
        """Return how long until one is due; None when nothing waits."""
        return min((max(0.0, self._free_at.get(name, now) - now) for name in self._waiting), default=None)

    def held_back(self) -> list[str]:
        """Return every name that waits, due or not."""
        return sorted(self._waiting)
