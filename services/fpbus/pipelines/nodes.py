"""Hear of every node that Hamilton runs."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hamilton.lifecycle.base import BasePostNodeExecute, BasePreNodeExecute

if TYPE_CHECKING:
    from .cache import CacheAdapter
    from .scope import RunScope


@dataclass(frozen=True, slots=True)
class NodeReport:
    """A node started (`duration_s` is None), finished, or failed with `error`.

    Nodes between `Parallelizable` and `Collect` run several times; each time is reported. What runs in another
    process is reported when it is done. `cached` says that the node's value came from the cache.
    """

    node: str
    at: datetime
    duration_s: float | None = None
    summary: str | None = None
    error: str | None = None
    cached: bool = False


class NodeWatcher(BasePreNodeExecute, BasePostNodeExecute):  # type: ignore[misc]  # Hamilton's classes are Any to us
    """Tells of each node to the run that its driver is busy with. Nodes may run in several threads at once."""

    def __init__(self, scope: "RunScope", cache: "CacheAdapter | None" = None) -> None:
        from .scope import ignore  # which imports this file

        self._ignore = ignore
        self._scope = scope
        self._cache = cache
        self._started: dict[tuple[str | None, str], float] = {}

    def __reduce__(self) -> Any:
        """Go to another process without the run, which nobody there can be told of."""
        return _deaf_watcher, ()

    def pre_node_execute(self, *, node_: Any, task_id: str | None = None, **_: Any) -> None:
        if self._scope.report is not self._ignore:
            self._started[task_id, node_.name] = time.perf_counter()
            self._scope.report(NodeReport(node_.name, datetime.now(UTC)))

    def post_node_execute(
        self,
        *,
        run_id: str,
        node_: Any,
        success: bool,
        error: Exception | None,
        result: Any,
        task_id: str | None = None,
        **_: Any,
    ) -> None:
        name = node_.name
        if not success:
            self._scope.failed_node = self._scope.failed_node or name
        if self._scope.report is self._ignore:
            return
        now = time.perf_counter()
        duration = now - self._started.pop((task_id, name), now)
        if success:
            cached = self._cache is not None and self._cache.was_hit(run_id, name, task_id)
            report = NodeReport(name, datetime.now(UTC), duration, summary=summarise(result), cached=cached)
        else:
            report = NodeReport(name, datetime.now(UTC), duration, error=f"{type(error).__name__}: {error}")
        self._scope.report(report)


def _deaf_watcher() -> NodeWatcher:
    from .scope import RunScope

    return NodeWatcher(RunScope())


def summarise(value: Any) -> str:
    """Say what kind of value this is and how large, never what it holds: it may be a secret."""
    kind = type(value).__name__
    try:
        shape = getattr(value, "shape", None)
        if isinstance(shape, tuple):
            return f"{kind} {' x '.join(map(str, shape))}".rstrip()
        if isinstance(value, str | bytes | list | tuple | set | frozenset | dict):
            return f"{kind} of {len(value)}"
    except Exception:
        return kind
    return kind
