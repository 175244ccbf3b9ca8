"""Drivers as they are kept: Hamilton's, with what we want to know of its DAG and what must be closed after it."""

import inspect
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from hamilton.driver import Driver
from hamilton.node import NodeType

from .async_runs import run_coroutine
from .cache import CacheAdapter
from .inputs import nullable_inputs
from .pools import Pool
from .scope import RunScope


class BuiltDriver:
    """A driver, and what we want to know of its DAG. Its pool is shut down when it is closed or dropped."""

    def __init__(self, dag: Any, scope: RunScope, cache: CacheAdapter | None = None, pool: Pool | None = None) -> None:
        self.dag = dag
        self.scope = scope
        self.cache = cache
        nodes = dag.graph.nodes.values()
        self.input_types: dict[str, Any] = {node.name: node.type for node in nodes if node.user_defined}
        self.nullable = nullable_inputs(nodes)
        self.last_nodes = sorted(node.name for node in nodes if not node.user_defined and not node.depended_on_by)
        self._finalizer = weakref.finalize(self, pool.shutdown) if pool is not None else None

    def execute(self, final_vars: Sequence[str], inputs: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return self._execute(list(final_vars) or self.last_nodes, dict(inputs))
        finally:
            if self.cache is not None:
                self.cache.forget()

    def close(self) -> None:
        """Shut down the pool. The driver cannot be used any more."""
        if self._finalizer is not None:
            self._finalizer()

    def _execute(self, final_vars: list[str], inputs: dict[str, Any]) -> dict[str, Any]:
        outputs: dict[str, Any] = self.dag.execute(final_vars, inputs=inputs)
        return outputs


class AsyncBuiltDriver(BuiltDriver):
    """The same for a DAG with async functions."""

    def _execute(self, final_vars: list[str], inputs: dict[str, Any]) -> dict[str, Any]:
        graph = self.dag.graph
        nodes, outside = graph.get_upstream_nodes(final_vars, inputs, None)
        Driver.validate_inputs(graph, self.dag.adapter, outside, inputs, nodes)  # the async driver does not look
        outputs: dict[str, Any] = run_coroutine(self.dag.execute(final_vars, inputs=inputs))
        return outputs


def has_async(dag: Any) -> bool:
    """Say whether a function of the DAG is async."""
    return any(
        inspect.iscoroutinefunction(function)
        for node in dag.graph.nodes.values()
        for function in (node.callable, *(node.originating_functions or ()))
        if not node.user_defined
    )


def has_parallel(dag: Any) -> bool:
    """Say whether the DAG uses `Parallelizable`."""
    return any(node.node_role == NodeType.EXPAND for node in dag.graph.nodes.values())
