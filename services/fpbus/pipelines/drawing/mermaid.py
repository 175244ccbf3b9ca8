"""Write a DAG as a Mermaid flowchart, for Markdown that draws them."""

import json
from collections.abc import Iterator
from typing import Final

from .boxes import layout_of
from .colours import LIGHT
from .view import DagNode, DagView, NodeKind

_SHAPES: Final = {
    NodeKind.INPUT: ("([", "])"),
    NodeKind.CONFIG: ("([", "])"),
    NodeKind.FUNCTION: ("(", ")"),
    NodeKind.OUTPUT: ("(", ")"),
    NodeKind.MATERIALIZER: ("[", "]"),
}
_BORDERS: Final = {
    NodeKind.INPUT: ",stroke-dasharray:5 3",
    NodeKind.CONFIG: ",stroke-dasharray:5 3",
    NodeKind.OUTPUT: ",stroke-width:3px",
}


def mermaid_of(view: DagView) -> str:
    """Return a `flowchart`. Nodes are numbered, because Mermaid has words that no node may be called.

    The same view gives the same text. Mermaid itself draws at most 500 edges unless its page allows more.
    """
    return "\n".join(_document(view))


def _document(view: DagView) -> Iterator[str]:
    number = {node.name: f"n{index}" for index, node in enumerate(view.nodes)}
    yield f"---\ntitle: {json.dumps(view.title)}\n---"
    yield f"flowchart {'LR' if layout_of(view).sideways else 'TB'}"
    for index, (group, nodes) in enumerate(view.groups().items()):
        if group:
            yield f'  subgraph g{index}["{_escaped(group)}"]'
        yield from (f"  {number[node.name]}{_label(node)}" for node in nodes)
        if group:
            yield "  end"
    for edge in view.edges:
        yield f"  {number[edge.source]} {'-.->' if edge.optional else '-->'} {number[edge.target]}"
    for kind, paint in LIGHT.nodes.items():
        members = [number[node.name] for node in view.nodes if node.kind is kind]
        if members:
            border = _BORDERS.get(kind, "")
            yield f"  classDef {kind} fill:{paint.fill},stroke:{paint.border},color:{LIGHT.text}{border}"
            yield f"  class {','.join(members)} {kind}"
    yield ""


def _label(node: DagNode) -> str:
    opening, closing = _SHAPES[node.kind]
    kind = f"<br/><small>{_escaped(node.type)}</small>" if node.type else ""
    return f'{opening}"<b>{_escaped(node.name)}</b>{kind}"{closing}'


def _escaped(text: str) -> str:
    """Write everything but plain letters as Mermaid's character codes, so nothing is markup, quote or comment."""
    return "".join(
        letter if letter.isalnum() or letter in " _.,-" else f"#{ord(letter)};" for letter in " ".join(text.split())
    )
