"""The style sheet inside an SVG drawing, with its own colours for readers who like it dark."""

from collections.abc import Iterator
from typing import Final

from .boxes import NAME_SIZE, TYPE_SIZE
from .colours import DARK, LIGHT, Theme

TITLE_SIZE: Final = 18.0

_SHAPES: Final = (
    ".dag .edge{fill:none;stroke-width:1.4}"
    ".dag .optional{stroke-dasharray:5 4}"
    ".dag .group{stroke-dasharray:2 3}"
    ".dag .box{stroke-width:1.4}"
    ".dag .input .box,.dag .config .box{stroke-dasharray:5 3}"
    ".dag .output .box{stroke-width:3}"
    f".dag .name{{font-size:{NAME_SIZE:g}px;font-weight:600}}"
    f".dag .type,.dag .note{{font-size:{TYPE_SIZE:g}px}}"
    f".dag .title{{font-size:{TITLE_SIZE:g}px;font-weight:700}}"
)


def style() -> str:
    # Colours are written out: many programs that show SVG know no CSS variables.
    light, dark = "".join(_colours(LIGHT)), "".join(_colours(DARK))
    return f"{_SHAPES}{light}@media (prefers-color-scheme:dark){{{dark}}}"


def _colours(theme: Theme) -> Iterator[str]:
    yield f".dag .paper{{fill:{theme.paper}}}.dag text{{fill:{theme.text}}}.dag .type,.dag .note{{fill:{theme.faint}}}"
    yield f".dag .edge{{stroke:{theme.line}}}.dag .head{{fill:{theme.line}}}"
    yield f".dag .group{{fill:{theme.group};stroke:{theme.line}}}"
    for kind, paint in theme.nodes.items():
        yield f".dag .{kind} .box{{fill:{paint.fill};stroke:{paint.border}}}"
