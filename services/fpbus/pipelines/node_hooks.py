"""Hooks of nodes, called by Hamilton in the process and thread in which a node runs."""

import pickle
import time
from collections.abc import Sequence
from typing import Any

from hamilton.lifecycle import NodeExecutionHook
from hamilton.lifecycle.base import BasePostNodeExecuteAsync, BasePreNodeExecuteAsync

from .hook_complaints import RAISED, Complaints
from .hook_search import Hook
from .hooks import NodeEnd, NodeStart
from .scope import RunScope, ignore


class NodeHooks(NodeExecutionHook):  # type: ignore[misc]  # Hamilton's classes are Any to us
    """Calls hooks around each node, for the run that the driver is busy with."""

    def __init__(self, before: Sequence[Hook], after: Sequence[Hook], scope: RunScope, complaints: Complaints) -> None:
        self._before = before
        self._after = after
        self._scope = scope
        self._complaints = complaints
        self._started: dict[tuple[str | None, str], float] = {}

    def run_before_node_execution(
        self,
        *,
        node_name: str,
        node_tags: dict[str, Any],
        node_kwargs: dict[str, Any],
        task_id: str | None,
        **_: Any,
    ) -> None:
        for hook in self._before:
            self._call(hook, NodeStart(**self._facts(node_name, node_tags, node_kwargs)))
        # The same node may run in several tasks at once, as between Parallelizable and Collect.
        self._started[task_id, node_name] = time.perf_counter()

    def run_after_node_execution(
        self,
        *,
        node_name: str,
        node_tags: dict[str, Any],
        node_kwargs: dict[str, Any],
        result: Any,
        error: Exception | None,
        task_id: str | None,
        **_: Any,
    ) -> None:
        now = time.perf_counter()
        duration = now - self._started.pop((task_id, node_name), now)
        for hook in self._after:
            facts = self._facts(node_name, node_tags, node_kwargs)
            self._call(hook, NodeEnd(**facts, duration_s=duration, result=result, error=error))

    def __getstate__(self) -> dict[str, Any]:
        """Go to another process with the hooks that can, and with the facts of the run; its reports stay here."""
        facts = self._scope.facts
        return {
            "before": [hook for hook in self._before if self._can_go(hook, facts.run_id)],
            "after": [hook for hook in self._after if self._can_go(hook, facts.run_id)],
            "complaints": self._complaints,
            "facts": facts,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        scope = RunScope()
        scope.begin(state["facts"], ignore)
        self.__init__(state["before"], state["after"], scope, state["complaints"])  # type: ignore[misc]  # made anew

    def _can_go(self, hook: Hook, run_id: str) -> bool:
        try:
            pickle.dumps(hook)
        except Exception as error:
            # pickle raises what the functions' own objects raise.
            self._complaints.tell_left_out(hook, run_id, error)
            return False
        return True

    def _call(self, hook: Hook, value: NodeStart) -> None:
        try:
            hook.function(value)
        except RAISED as error:
            self._complaints.tell(hook, value.run_id, error)

    def _facts(self, node: str, tags: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
        """Return what a hook may know; the dicts are copies, since the node is called with Hamilton's own."""
        run = self._scope.facts
        return {
            "run_id": run.run_id,
            "pipeline": run.pipeline,
            "attempt": run.attempt,
            "node": node,
            "tags": dict(tags),
            "arguments": dict(arguments),
        }


class AsyncNodeHooks(BasePreNodeExecuteAsync, BasePostNodeExecuteAsync):  # type: ignore[misc]  # as above
    """The same for Hamilton's async driver. The hooks are plain functions, and hold up its loop while they run."""

    def __init__(self, hooks: NodeHooks) -> None:
        self._hooks = hooks

    async def pre_node_execute(self, **node: Any) -> None:
        self._hooks.pre_node_execute(**node)

    async def post_node_execute(self, **node: Any) -> None:
        self._hooks.post_node_execute(**node)
