"""The layout of a whole DAG: boxes and the courses of edges, downwards or to the right, whichever fits a screen."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from .layers import Layers, layered
from .places import centres

_GAP: Final = {False: 28.0, True: 18.0}
"""Between boxes of a layer: downwards, and sideways."""
_BETWEEN_LAYERS: Final = {False: 58.0, True: 74.0}
_SLOPE: Final = 0.08
_BETWEEN_PARTS: Final = 48.0
_BETWEEN_PORTS: Final = 14.0
_SAME_LINE: Final = 1.0
_ASPECT: Final = 1.5
"""Width by height of a picture that fits on a screen."""

Point = tuple[float, float]
Size = tuple[float, float]
Ends = tuple[int, int]


class Box(msgspec.Struct, frozen=True):
    """A node's rectangle; x and y are its upper left corner."""

    x: float
    y: float
    width: float
    height: float


class Layout(msgspec.Struct, frozen=True):
    """Boxes by node, and the courses of edges: points, by turns curved to the next and straight to the next."""

    boxes: list[Box]
    courses: list[list[Point]]
    width: float
    height: float
    sideways: bool
    """True when edges point to the right, False when they point down."""


def arrange(sizes: Sequence[Size], edges: Sequence[Ends], groups: Mapping[int, str]) -> Layout:
    """Place boxes of `sizes` (width, height). `edges` and `groups` speak of them by number."""
    parts = list(_parts(len(sizes), edges, groups))
    return min((_packed(parts, sizes, len(edges), sideways=sideways) for sideways in (False, True)), key=_misfit)


def _misfit(layout: Layout) -> float:
    aspect = max(layout.width, 1) / max(layout.height, 1) / _ASPECT
    return max(aspect, 1 / aspect)


class _Part(msgspec.Struct, frozen=True):
    """One connected part of the DAG: which nodes and edges its places and paths stand for."""

    nodes: list[int]
    edges: list[int]
    layers: Layers


def _parts(count: int, edges: Sequence[Ends], groups: Mapping[int, str]) -> Iterator[_Part]:
    """Cut the DAG into its connected parts, the largest first."""
    parts = sorted(_connected(count, edges), key=len, reverse=True)
    place = {node: index for nodes in parts for index, node in enumerate(nodes)}
    part_of = {node: part for part, nodes in enumerate(parts) for node in nodes}
    inside: list[list[int]] = [[] for _ in parts]
    for index, (source, _) in enumerate(edges):
        inside[part_of[source]].append(index)
    for nodes, those in zip(parts, inside, strict=True):
        ends = [(place[edges[index][0]], place[edges[index][1]]) for index in those]
        named = {place[node]: groups[node] for node in nodes if node in groups}
        yield _Part(nodes, those, layered(len(nodes), ends, named))


def _connected(count: int, edges: Sequence[Ends]) -> list[list[int]]:
    neighbours: list[list[int]] = [[] for _ in range(count)]
    for source, target in edges:
        neighbours[source].append(target)
        neighbours[target].append(source)
    parts: list[list[int]] = []
    seen = [False] * count
    for start in range(count):
        part, waiting = [], [start]
        while waiting:
            node = waiting.pop()
            if not seen[node]:
                seen[node] = True
                part.append(node)
                waiting += neighbours[node]
        if part:
            parts.append(sorted(part))
    return parts


def _packed(parts: Sequence[_Part], sizes: Sequence[Size], edges: int, *, sideways: bool) -> Layout:
    """Lay out each part, and stand the parts on shelves like books: left to right, then on the next shelf."""
    drawn = [_drawn(part, sizes, sideways=sideways) for part in parts]
    area = sum((one.width + _BETWEEN_PARTS) * (one.height + _BETWEEN_PARTS) for one in drawn)
    widest = max([(area * _ASPECT) ** 0.5, *(one.width for one in drawn)])
    boxes = [Box(0, 0, 0, 0)] * len(sizes)
    courses: list[list[Point]] = [[]] * edges
    x = y = shelf = width = 0.0
    for part, one in zip(parts, drawn, strict=True):
        if x and x + one.width > widest:
            x, y, shelf = 0.0, y + shelf + _BETWEEN_PARTS, 0.0
        for node, box in zip(part.nodes, one.boxes, strict=True):
            boxes[node] = Box(box.x + x, box.y + y, box.width, box.height)
        for edge, course in zip(part.edges, one.courses, strict=True):
            courses[edge] = [(a + x, b + y) for a, b in course]
        width, shelf = max(width, x + one.width), max(shelf, one.height)
        x += one.width + _BETWEEN_PARTS
    return Layout(boxes, courses, width, y + shelf, sideways)


def _drawn(part: _Part, sizes: Sequence[Size], *, sideways: bool) -> Layout:
    """Lay out one part as if edges point down; for sideways with x and y exchanged before, and back afterwards."""
    shapes = [_turned(sizes[node]) if sideways else sizes[node] for node in part.nodes]
    middles = centres(part.layers, [breadth for breadth, _ in shapes], _GAP[sideways])
    halves = [*(breadth / 2 for breadth, _ in shapes), *(0.0 for _ in middles[len(shapes) :])]
    left = min(middle - half for middle, half in zip(middles, halves, strict=True))
    right = max(middle + half for middle, half in zip(middles, halves, strict=True))
    middles = [middle - left for middle in middles]
    bands = _bands(part.layers, shapes, middles, _BETWEEN_LAYERS[sideways])
    boxes = [
        Box(middles[place] - breadth / 2, bands[place][0], breadth, bands[place][1] - bands[place][0])
        for place, (breadth, _) in enumerate(shapes)
    ]
    courses = _courses(part.layers, boxes, middles, bands)
    depth = max(end for _, end in bands)
    if not sideways:
        return Layout(boxes, courses, right - left, depth, sideways)
    turned = [Box(box.y, box.x, box.height, box.width) for box in boxes]
    return Layout(turned, [[_turned(point) for point in course] for course in courses], depth, right - left, sideways)


def _turned(pair: Size) -> Size:
    return (pair[1], pair[0])


def _bands(layers: Layers, shapes: Sequence[Size], middles: Sequence[float], between: float) -> list[Point]:
    """Return where each place's layer starts and ends.

    Boxes fill the depth of their layer, so an edge that leaves one is past its neighbours at once and crosses none.
    Where an edge goes far to the side, the next layer is further away, or the edge would be flat.
    """
    bands = [(0.0, 0.0)] * len(middles)
    start = 0.0
    for row in layers.rows:
        end = start + max((shapes[place][1] for place in row if place < len(shapes)), default=0.0)
        for place in row:
            bands[place] = (start, end)
        aside = max(
            (abs(middles[place] - middles[other]) for place in row for other in layers.after[place]), default=0.0
        )
        start = end + between + min(aside * _SLOPE, between)
    return bands


def _courses(
    layers: Layers, boxes: Sequence[Box], middles: Sequence[float], bands: Sequence[Point]
) -> list[list[Point]]:
    """Lead each edge out of the middle of its box, straight through the layers that it passes, into a port."""
    ports = _ports(layers, boxes, middles)
    courses: list[list[Point]] = []
    for path in layers.paths:
        source, *bends, target = path
        course = [(middles[source], bands[source][1])]
        for bend in bends:
            if len(course) > 1 and abs(course[-1][0] - middles[bend]) < _SAME_LINE:
                course[-1] = (course[-1][0], bands[bend][1])
            else:
                course += [(middles[bend], bands[bend][0]), (middles[bend], bands[bend][1])]
        courses.append([*course, (ports[path[-2], target], bands[target][0])])
    return courses


def _ports(layers: Layers, boxes: Sequence[Box], middles: Sequence[float]) -> dict[Ends, float]:
    """Return where each link enters its box: side by side around the middle, in the order in which they come."""
    ports: dict[Ends, float] = {}
    for target, box in enumerate(boxes):
        coming = sorted(layers.before[target], key=lambda place: (middles[place], place))
        apart = min(_BETWEEN_PORTS, box.width * 0.7 / max(len(coming) - 1, 1))
        for index, place in enumerate(coming):
            ports[place, target] = middles[target] + (index - (len(coming) - 1) / 2) * apart
    return ports
