"""What a pipeline's DAG consists of, without anything that only a run needs."""

import msgspec

from fpbus.schemas import ExecutorConfig, RunConfig

from .drawing import DagView, NodeKind, view_of
from .graph import Graph

_GIVEN = frozenset({NodeKind.INPUT, NodeKind.CONFIG})


def look_at(graph: Graph, run: RunConfig | None = None) -> DagView:
    """Return the DAG that `run` builds; no executor is started for it, no cache opened and no adapter called."""
    plain = msgspec.structs.replace(run or graph.config.run, executor=ExecutorConfig(), cache=False, with_adapter={})
    return view_of(graph.driver(plain).dag, graph.name)


def count_nodes(graph: Graph, run: RunConfig) -> int:
    """Count the nodes that a run computes; a name among its outputs that is no node counts for nothing."""
    view = look_at(graph, run)
    computed = {node.name for node in view.nodes if node.kind not in _GIVEN}
    needs: dict[str, list[str]] = {}
    for edge in view.edges:
        needs.setdefault(edge.target, []).append(edge.source)
    waiting, seen = list(run.final_vars) or list(computed), set[str]()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += needs.get(name, [])
    return len(seen & computed)
