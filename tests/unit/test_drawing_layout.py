"""The layout keeps boxes apart, lets no edge run through one, and its colours can be read."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fpbus.pipelines.drawing import DagEdge, DagNode, DagView, DrawingFormat, NodeKind, draw
from fpbus.pipelines.drawing.colours import DARK, LIGHT, Theme
from fpbus.pipelines.drawing.layout import Box, Ends, Layout, Point, arrange

SIZE = (120.0, 46.0)


@st.composite
def dags(draws: st.DrawFn) -> tuple[int, list[Ends], dict[int, str]]:
    count = draws(st.integers(1, 24))
    targets = draws(st.lists(st.integers(0, count - 1), max_size=40))
    pairs = {(draws(st.integers(0, target - 1)), target) for target in targets if target}
    groups = draws(st.dictionaries(st.integers(0, count - 1), st.sampled_from(["a", "b"])))
    return count, sorted(pairs), groups


def points_of(course: list[Point], *, sideways: bool) -> Iterator[Point]:
    """Walk along an edge as it is drawn: curves that start and end in the direction of the layers, then straight."""
    along = 0 if sideways else 1
    for index, (start, end) in enumerate(pairwise(course)):
        for step in range(21):
            part = step / 20
            bow = part if index % 2 else part * part * (3 - 2 * part)
            line = [(1 - part) * start[axis] + part * end[axis] for axis in (0, 1)]
            aside = (1 - bow) * start[1 - along] + bow * end[1 - along]
            yield (line[0], aside) if sideways else (aside, line[1])


def is_inside(box: Box, point: Point) -> bool:
    return box.x < point[0] - 1e-6 < box.x + box.width - 2e-6 and box.y < point[1] - 1e-6 < box.y + box.height - 2e-6


def middle(box: Box, layout: Layout) -> float:
    return box.x + box.width / 2 if layout.sideways else box.y + box.height / 2


@settings(max_examples=40, deadline=None)
@given(dags())
def test_no_two_boxes_touch(dag: tuple[int, list[Ends], dict[int, str]]) -> None:
    count, edges, groups = dag

    boxes = arrange([SIZE] * count, edges, groups).boxes

    for index, one in enumerate(boxes):
        for other in boxes[:index]:
            apart_x = one.x >= other.x + other.width + 10 or other.x >= one.x + one.width + 10
            apart_y = one.y >= other.y + other.height + 10 or other.y >= one.y + one.height + 10
            assert apart_x or apart_y


@settings(max_examples=40, deadline=None)
@given(dags())
def test_no_edge_runs_through_a_box_or_backwards(dag: tuple[int, list[Ends], dict[int, str]]) -> None:
    count, edges, groups = dag

    layout = arrange([SIZE] * count, edges, groups)

    for (source, target), course in zip(edges, layout.courses, strict=True):
        assert middle(layout.boxes[source], layout) < middle(layout.boxes[target], layout)
        for point in points_of(course, sideways=layout.sideways):
            assert not any(is_inside(box, point) for box in layout.boxes)


@settings(max_examples=40, deadline=None)
@given(dags())
def test_everything_is_inside_the_picture(dag: tuple[int, list[Ends], dict[int, str]]) -> None:
    count, edges, groups = dag

    layout = arrange([SIZE] * count, edges, groups)

    corners = [(box.x, box.y) for box in layout.boxes]
    corners += [(box.x + box.width, box.y + box.height) for box in layout.boxes]
    corners += [point for course in layout.courses for point in course]
    assert all(-1e-6 <= x <= layout.width + 1e-6 and -1e-6 <= y <= layout.height + 1e-6 for x, y in corners)


def test_a_tree_is_drawn_without_crossings() -> None:
    edges = [((index - 1) // 2, index) for index in range(1, 31)]
    shuffled = sorted(edges, key=lambda edge: (edge[1] * 7) % 31)

    layout = arrange([SIZE] * 31, shuffled, {})

    starts_and_ends = [(course[0], course[-1]) for course in layout.courses]
    along, aside = (0, 1) if layout.sideways else (1, 0)
    for one_start, one_end in starts_and_ends:
        for other_start, other_end in starts_and_ends:
            if one_start[along] == other_start[along] and one_start[aside] < other_start[aside]:
                assert one_end[aside] < other_end[aside]


def test_a_chain_runs_down_in_one_straight_line() -> None:
    layout = arrange([SIZE] * 4, [(0, 1), (1, 2), (2, 3)], {})

    aside = 1 if layout.sideways else 0
    assert len({point[aside] for course in layout.courses for point in course}) == 1


def test_many_nodes_side_by_side_are_drawn_to_the_right_so_that_names_stay_readable() -> None:
    edges = [(0, index) for index in range(1, 12)]

    layout = arrange([SIZE] * 12, edges, {})

    assert layout.sideways
    assert layout.width < 1000


def test_unconnected_nodes_fill_a_screen_instead_of_one_long_row() -> None:
    layout = arrange([SIZE] * 100, [], {})

    assert 0.5 < layout.width / layout.height < 4


def test_long_edges_of_one_node_share_their_way() -> None:
    chain = [(index, index + 1) for index in range(1, 6)]

    layout = arrange([SIZE] * 7, [*chain, (0, 1), (0, 5), (0, 6)], {})

    assert layout.courses[-1][:2] == layout.courses[-2][:2]


def test_a_node_that_only_one_needs_stands_right_before_it() -> None:
    chain = [(index, index + 1) for index in range(5)]

    layout = arrange([SIZE] * 8, [*chain, (6, 7), (7, 5)], {})

    assert middle(layout.boxes[7], layout) == middle(layout.boxes[4], layout)
    assert middle(layout.boxes[6], layout) == middle(layout.boxes[3], layout)


def test_nodes_of_a_group_stand_side_by_side() -> None:
    edges = [(0, index) for index in range(1, 10)]
    members = {2, 5, 9}

    layout = arrange([SIZE] * 10, edges, dict.fromkeys(members, "group"))

    order = sorted(range(1, 10), key=lambda node: (layout.boxes[node].x, layout.boxes[node].y))
    places = sorted(order.index(node) for node in members)
    assert places == list(range(places[0], places[0] + 3))


def a_subdag(*outside: tuple[str, str]) -> DagView:
    names = ["start", "sub.one", "sub.two", "sub.three", "end", *(name for name, _ in outside)]
    pairs = [("start", "sub.one"), ("sub.one", "sub.two"), ("sub.two", "sub.three"), ("sub.three", "end"), *outside]
    return DagView(
        title="subdag",
        nodes=tuple(DagNode(name=name) for name in names),
        edges=tuple(DagEdge(source=source, target=target) for source, target in pairs),
    )


def test_a_subdag_whose_nodes_stand_together_is_framed() -> None:
    assert '<rect class="group"' in draw(a_subdag(), DrawingFormat.SVG).decode()


def test_a_thousand_nodes_are_laid_out() -> None:
    edges = [(0, index) for index in range(1, 1000)] + [(index, index + 1) for index in range(1, 999)]

    layout = arrange([SIZE] * 1000, edges, {})

    assert len({(box.x, box.y) for box in layout.boxes}) == 1000


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours as WCAG 2 counts it, from 1 to 21."""
    lights = sorted(map(_light, (one, other)))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def _light(colour: str) -> float:
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_text_and_lines_contrast_with_what_is_under_them(theme: Theme) -> None:
    fills = [paint.fill for paint in theme.nodes.values()]

    assert set(theme.nodes) == set(NodeKind)
    assert all(contrast(text, under) >= 4.5 for text in (theme.text, theme.faint) for under in (*fills, theme.paper))
    assert all(contrast(paint.border, paint.fill) >= 3 for paint in theme.nodes.values())
    assert all(contrast(theme.line, under) >= 3 for under in (theme.paper, theme.group))
