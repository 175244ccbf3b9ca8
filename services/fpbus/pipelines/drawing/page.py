"""Draw a DAG as one HTML file that needs no network: the SVG, with zoom, search and each node's details."""

import re
from pathlib import Path
from typing import Final

import msgspec

from .escaping import xml_text
from .svg import svg_of
from .view import DagView

_TEMPLATE: Final = Path(__file__).with_name("page.html")
_SLOT: Final = re.compile(r"<!--(title|svg|nodes)-->")


def page_of(view: DagView) -> str:
    """Return the page. The same view gives the same text."""
    slots = {"title": xml_text(view.title), "svg": svg_of(view), "nodes": _json_in_script(view)}
    # All slots in one pass: a title that looks like a slot stays a title.
    return _SLOT.sub(lambda slot: slots[slot[1]], _TEMPLATE.read_text(encoding="utf-8"))


def _json_in_script(view: DagView) -> str:
    """Encode the nodes so that nothing in them can end the script element that holds them."""
    return msgspec.json.encode(view.nodes).decode().replace("<", "\\u003c")
