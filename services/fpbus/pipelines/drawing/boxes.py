"""How large the box of each node is, and the layout that follows from it."""

from typing import Final

from .layout import Layout, Size, arrange
from .view import DagNode, DagView
from .words import shortened, width_of

NAME_SIZE: Final = 13.0
TYPE_SIZE: Final = 11.0
HEIGHT: Final = 46.0

_NAME_LETTERS: Final = 32
_TYPE_LETTERS: Final = 36
_LEAST_WIDTH: Final = 84.0
_PADDING: Final = 16.0


def layout_of(view: DagView) -> Layout:
    number = {node.name: index for index, node in enumerate(view.nodes)}
    return arrange(
        [_size(node) for node in view.nodes],
        [(number[edge.source], number[edge.target]) for edge in view.edges],
        {number[node.name]: node.group for node in view.nodes if node.group},
    )


def name_in_box(node: DagNode) -> str:
    return shortened(node.name, _NAME_LETTERS)


def type_in_box(node: DagNode) -> str:
    return shortened(node.type, _TYPE_LETTERS)


def _size(node: DagNode) -> Size:
    text = max(width_of(name_in_box(node), NAME_SIZE), width_of(type_in_box(node), TYPE_SIZE))
    return (round(max(text + 2 * _PADDING, _LEAST_WIDTH)), HEIGHT)
