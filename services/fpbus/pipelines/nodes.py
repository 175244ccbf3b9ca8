"""Hear of every node that Hamilton runs."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hamilton.lifecycle import NodeExecutionHook


@dataclass(frozen=True, slots=True)
class NodeReport:
    """A node started (`duration_s` is None), finished, or failed with `error`."""

    node: str
    at: datetime
    duration_s: float | None = None
    summary: str | None = None
    error: str | None = None


class NodeWatcher(NodeExecutionHook):  # type: ignore[misc]  # Hamilton's classes are Any to us
    """Tells `report` of each node. One driver runs one pipeline at a time, so it watches one run at a time."""

    def __init__(self) -> None:
        self.report: Callable[[NodeReport], None] = _nobody
        self.failed_node: str | None = None
        self._started: dict[str, float] = {}

    def watch(self, report: Callable[[NodeReport], None]) -> None:
        self.report = report
        self.failed_node = None
        self._started.clear()

    def run_before_node_execution(self, *, node_name: str, **_: Any) -> None:
        self._started[node_name] = time.perf_counter()
        self.report(NodeReport(node_name, datetime.now(UTC)))

    def run_after_node_execution(
        self, *, node_name: str, success: bool, error: Exception | None, result: Any, **_: Any
    ) -> None:
        duration = time.perf_counter() - self._started.pop(node_name, time.perf_counter())
        if success:
            self.report(NodeReport(node_name, datetime.now(UTC), duration, summary=summarise(result)))
            return
        self.failed_node = self.failed_node or node_name
        self.report(NodeReport(node_name, datetime.now(UTC), duration, error=f"{type(error).__name__}: {error}"))


def summarise(value: Any) -> str:
    """Say what kind of value this is and how large, never what it holds: it may be a secret."""
    kind = type(value).__name__
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return f"{kind} {' x '.join(map(str, shape))}".rstrip()
    if isinstance(value, str | bytes | list | tuple | set | frozenset | dict):
        return f"{kind} of {len(value)}"
    return kind


def _nobody(_report: NodeReport) -> None:
    """Stand in while nobody watches."""
