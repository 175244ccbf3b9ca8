"""Hear of every node that Hamilton runs."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hamilton.lifecycle import NodeExecutionHook

if TYPE_CHECKING:
    from .scope import RunScope


@dataclass(frozen=True, slots=True)
class NodeReport:
    """A node started (`duration_s` is None), finished, or failed with `error`."""

    node: str
    at: datetime
    duration_s: float | None = None
    summary: str | None = None
    error: str | None = None


class NodeWatcher(NodeExecutionHook):  # type: ignore[misc]  # Hamilton's classes are Any to us
    """Tells of each node to the run that its driver is busy with."""

    def __init__(self, scope: "RunScope") -> None:
        self._scope = scope
        self._started: dict[str, float] = {}

    def run_before_node_execution(self, *, node_name: str, **_: Any) -> None:
        self._started[node_name] = time.perf_counter()
        self._scope.report(NodeReport(node_name, datetime.now(UTC)))

    def run_after_node_execution(
        self, *, node_name: str, success: bool, error: Exception | None, result: Any, **_: Any
    ) -> None:
        duration = time.perf_counter() - self._started.pop(node_name, time.perf_counter())
        if success:
            self._scope.report(NodeReport(node_name, datetime.now(UTC), duration, summary=summarise(result)))
            return
        self._scope.failed_node = self._scope.failed_node or node_name
        self._scope.report(NodeReport(node_name, datetime.now(UTC), duration, error=f"{type(error).__name__}: {error}"))


def summarise(value: Any) -> str:
    """Say what kind of value this is and how large, never what it holds: it may be a secret."""
    kind = type(value).__name__
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return f"{kind} {' x '.join(map(str, shape))}".rstrip()
    if isinstance(value, str | bytes | list | tuple | set | frozenset | dict):
        return f"{kind} of {len(value)}"
    return kind
