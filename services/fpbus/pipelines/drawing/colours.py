"""The colours of drawings, by kind of node: readable on light and dark, and apart in shape too, not by colour alone."""

from typing import Final

import msgspec

from .view import NodeKind


class Paint(msgspec.Struct, frozen=True):
    """A node's area and its border."""

    fill: str
    border: str


class Theme(msgspec.Struct, frozen=True):
    """All colours of a drawing. Text contrasts with what is under it by 4.5 to 1 or more, lines by 3 to 1."""

    paper: str
    text: str
    faint: str
    line: str
    group: str
    nodes: dict[NodeKind, Paint]


LIGHT: Final = Theme(
    paper="#ffffff",
    text="#17202a",
    faint="#4b5866",
    line="#77838f",
    group="#f3f5f7",
    nodes={
        NodeKind.INPUT: Paint("#fff6e0", "#946200"),
        NodeKind.CONFIG: Paint("#f5effd", "#7a4cb8"),
        NodeKind.FUNCTION: Paint("#eaf2fb", "#3f73a8"),
        NodeKind.OUTPUT: Paint("#dff3e4", "#1b7a3c"),
        NodeKind.MATERIALIZER: Paint("#fdebee", "#b2384d"),
    },
)
DARK: Final = Theme(
    paper="#12171d",
    text="#e8edf2",
    faint="#aab6c2",
    line="#7c8a98",
    group="#1a2129",
    nodes={
        NodeKind.INPUT: Paint("#332a14", "#d8a23c"),
        NodeKind.CONFIG: Paint("#2a2139", "#b597e8"),
        NodeKind.FUNCTION: Paint("#1b2c3d", "#6ba4da"),
        NodeKind.OUTPUT: Paint("#153320", "#58bf7a"),
        NodeKind.MATERIALIZER: Paint("#391e25", "#ee8797"),
    },
)
