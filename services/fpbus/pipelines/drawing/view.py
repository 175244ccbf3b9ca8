"""What a drawing shows: a pipeline's DAG as plain values, without Hamilton."""

from collections import defaultdict
from enum import StrEnum

import msgspec


class DrawingFormat(StrEnum):
    """How a DAG can be drawn; `raw` is the same text as `dot`."""

    PNG = "png"
    SVG = "svg"
    PDF = "pdf"
    DOT = "dot"
    RAW = "raw"
    MERMAID = "mermaid"
    HTML = "html"


class NodeKind(StrEnum):
    """What a node is to the one who runs the pipeline."""

    INPUT = "input"
    CONFIG = "config"
    FUNCTION = "function"
    OUTPUT = "output"
    MATERIALIZER = "materializer"


class DagNode(msgspec.Struct, frozen=True, kw_only=True):
    """One node. `source` is `module.function`, empty for inputs; `doc` is the first line of its docstring."""

    name: str
    kind: NodeKind = NodeKind.FUNCTION
    type: str = ""
    source: str = ""
    doc: str = ""
    tags: dict[str, str] = {}

    @property
    def group(self) -> str:
        """The subdag that it belongs to: `prices` for `prices.rate`; empty outside of any."""
        return self.name.rpartition(".")[0]


class DagEdge(msgspec.Struct, frozen=True, kw_only=True):
    """`target` needs `source`; `optional` when it can do without, or when a config entry only chose the function."""

    source: str
    target: str
    optional: bool = False


class DagView(msgspec.Struct, frozen=True, kw_only=True):
    """A DAG to draw. Every end of an edge is one of the nodes, and there is no cycle."""

    title: str
    nodes: tuple[DagNode, ...] = ()
    edges: tuple[DagEdge, ...] = ()

    def groups(self) -> dict[str, list[DagNode]]:
        """Return the nodes by subdag, in the order in which they come; the key "" has those outside of any."""
        groups: dict[str, list[DagNode]] = defaultdict(list)
        for node in self.nodes:
            groups[node.group].append(node)
        return dict(groups)
