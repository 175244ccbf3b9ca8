"""Draw a DAG as SVG, without any program. A page can light nodes up: ids are `node-<name>`, edges know their ends."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from .boxes import HEIGHT, TYPE_SIZE, layout_of, name_in_box, type_in_box
from .escaping import xml_text
from .layout import Box, Layout, Point
from .style import TITLE_SIZE, style
from .view import DagEdge, DagNode, DagView, NodeKind
from .words import width_of

_FONT: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', Arial, sans-serif"
_MARGIN: Final = 24.0
_HEAD: Final = 74.0
"""The room for title and legend."""

_CORNERS: Final = {NodeKind.INPUT: HEIGHT / 2, NodeKind.CONFIG: HEIGHT / 2, NodeKind.MATERIALIZER: 0.0}
_USUAL_CORNER: Final = 8.0
_ARROW: Final = (
    '<defs><marker id="dag-arrow" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path class="head" d="M0 0.5L8 4L0 7.5Z"/></marker></defs>'
)
_LEGEND: Final = {
    NodeKind.INPUT: "input",
    NodeKind.CONFIG: "configuration",
    NodeKind.FUNCTION: "function",
    NodeKind.OUTPUT: "output",
    NodeKind.MATERIALIZER: "reads or writes",
}


def svg_of(view: DagView) -> str:
    """Return one SVG document. The same view gives the same text."""
    return "\n".join(_document(view, layout_of(view)))


def _document(view: DagView, layout: Layout) -> Iterator[str]:
    kinds = [kind for kind in NodeKind if any(node.kind is kind for node in view.nodes)]
    least = max(width_of(view.title, TITLE_SIZE), sum(_legend_width(kind) for kind in kinds))
    width = round(max(layout.width, least) + 2 * _MARGIN)
    height = round(layout.height + _HEAD + 2 * _MARGIN)
    yield f'<svg xmlns="http://www.w3.org/2000/svg" class="dag" viewBox="0 0 {width} {height}" width="{width}"'
    yield f'height="{height}" role="img" aria-label="{xml_text(view.title)}" font-family="{xml_text(_FONT)}">'
    yield f"<title>{xml_text(view.title)}</title>"
    yield f"<style>{style()}</style>"
    yield _ARROW
    yield '<rect class="paper" width="100%" height="100%"/>'
    yield from _head(view, kinds)
    yield f'<g transform="translate({round((width - layout.width) / 2)} {_number(_HEAD + _MARGIN)})">'
    yield from _groups(view, layout)
    for edge, course in zip(view.edges, layout.courses, strict=True):
        yield _edge(edge, course, sideways=layout.sideways)
    for node, box in zip(view.nodes, layout.boxes, strict=True):
        yield from _node(node, box)
    yield "</g>\n</svg>\n"


def _head(view: DagView, kinds: list[NodeKind]) -> Iterator[str]:
    yield f'<text class="title" x="{_MARGIN:g}" y="40">{xml_text(view.title)}</text>'
    x = _MARGIN
    for kind in kinds:
        corner = min(_CORNERS.get(kind, 4), 8)
        yield f'<g class="{kind}"><rect class="box" x="{_number(x)}" y="58" width="26" height="16" rx="{corner:g}"/>'
        yield f'<text class="note" x="{_number(x + 33)}" y="70">{_LEGEND[kind]}</text></g>'
        x += _legend_width(kind)


def _legend_width(kind: NodeKind) -> float:
    return 33 + width_of(_LEGEND[kind], TYPE_SIZE) + 22


def _groups(view: DagView, layout: Layout) -> Iterator[str]:
    """Frame each subdag whose nodes stand together; where others stand between them, their names must do."""
    frames: dict[str, list[Box]] = {}
    for node, box in zip(view.nodes, layout.boxes, strict=True):
        if node.group:
            frames.setdefault(node.group, []).append(box)
    for group, boxes in frames.items():
        frame = _around(boxes)
        if not any(
            _touch(frame, box) for box, node in zip(layout.boxes, view.nodes, strict=True) if node.group != group
        ):
            yield f'<rect class="group" {_place(frame)} rx="12"><title>{xml_text(group)}</title></rect>'


def _around(boxes: list[Box]) -> Box:
    left, top = min(box.x for box in boxes) - 8, min(box.y for box in boxes) - 8
    right, bottom = max(box.x + box.width for box in boxes) + 8, max(box.y + box.height for box in boxes) + 8
    return Box(left, top, right - left, bottom - top)


def _touch(one: Box, other: Box) -> bool:
    return (
        one.x < other.x + other.width
        and other.x < one.x + one.width
        and one.y < other.y + other.height
        and other.y < one.y + one.height
    )


def _edge(edge: DagEdge, course: list[Point], *, sideways: bool) -> str:
    classes = "edge optional" if edge.optional else "edge"
    ends = f'data-from="{xml_text(edge.source)}" data-to="{xml_text(edge.target)}"'
    return f'<path class="{classes}" {ends} d="{_curve(course, sideways=sideways)}" marker-end="url(#dag-arrow)"/>'


def _curve(course: list[Point], *, sideways: bool) -> str:
    """Curve between layers, and go straight through them, where the boxes are."""
    steps = [f"M{_point(course[0])}"]
    for index, (start, end) in enumerate(pairwise(course)):
        if index % 2:
            steps.append(f"L{_point(end)}")
        elif sideways:
            middle = (start[0] + end[0]) / 2
            steps.append(f"C{_point((middle, start[1]))} {_point((middle, end[1]))} {_point(end)}")
        else:
            middle = (start[1] + end[1]) / 2
            steps.append(f"C{_point((start[0], middle))} {_point((end[0], middle))} {_point(end)}")
    return "".join(steps)


def _node(node: DagNode, box: Box) -> Iterator[str]:
    middle = _number(box.x + box.width / 2)
    top = box.y + box.height / 2
    yield f'<g class="node {node.kind}" id="node-{xml_text(node.name)}" data-name="{xml_text(node.name)}">'
    yield f"<title>{xml_text(_tooltip(node))}</title>"
    yield f'<rect class="box" {_place(box)} rx="{_CORNERS.get(node.kind, _USUAL_CORNER):g}"/>'
    yield _line("name", middle, top - 2 if node.type else top + 5, name_in_box(node))
    if node.type:
        yield _line("type", middle, top + 14, type_in_box(node))
    yield "</g>"


def _line(style: str, x: str, y: float, text: str) -> str:
    return f'<text class="{style}" x="{x}" y="{_number(y)}" text-anchor="middle">{xml_text(text)}</text>'


def _tooltip(node: DagNode) -> str:
    tags = ", ".join(f"{key}={tag}" for key, tag in node.tags.items())
    lines = [f"{node.name}: {node.type}" if node.type else node.name, node.doc, node.source, tags]
    return "\n".join(line for line in lines if line)


def _place(box: Box) -> str:
    return f'x="{_number(box.x)}" y="{_number(box.y)}" width="{_number(box.width)}" height="{_number(box.height)}"'


def _point(point: Point) -> str:
    return f"{_number(point[0])} {_number(point[1])}"


def _number(value: float) -> str:
    """Write a coordinate to a tenth of a pixel."""
    return f"{value:.1f}"
