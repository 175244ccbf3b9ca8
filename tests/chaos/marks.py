"""What the pipelines themselves wrote down: which run was begun or ended, by which process, and when."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple


class Mark(NamedTuple):
    what: str
    x: int
    pid: int
    at: float


class Marks:
    """The file of marks. A run is told by its input `x`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def all(self) -> list[Mark]:
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        return [_read(line) for line in lines]

    def of(self, x: int, what: str = "begun") -> list[Mark]:
        return [mark for mark in self.all() if (mark.x, mark.what) == (x, what)]

    def executions(self) -> Counter[int]:
        """Return how often each run was begun."""
        return Counter(mark.x for mark in self.all() if mark.what == "begun")

    def size(self) -> int:
        """Return how much there is, for who only wants to see that something happens."""
        return self._path.stat().st_size if self._path.exists() else 0


def _read(line: str) -> Mark:
    what, x, pid, at = line.split()
    return Mark(what, int(x), int(pid), float(at))
