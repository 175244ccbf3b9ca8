"""Write a DAG in the language of Graphviz, and have its `dot` program draw it."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Final

from fpbus.schemas import FpbusError

from .boxes import NAME_SIZE, TYPE_SIZE, layout_of, name_in_box, type_in_box
from .colours import LIGHT
from .escaping import xml_text
from .view import DagEdge, DagNode, DagView, DrawingFormat, NodeKind

_TIMEOUT_S: Final = 120.0
_PDF_DATE: Final = re.compile(rb"(/CreationDate \(D:)\d{14}")
_FONT: Final = 'fontname="Helvetica,Arial,sans-serif"'
_CLUSTER: Final = f'style="rounded,filled,dashed"; fillcolor="{LIGHT.group}"; color="{LIGHT.line}"'
_SHAPES: Final = {
    NodeKind.INPUT: 'style="rounded,filled,dashed"',
    NodeKind.CONFIG: 'style="rounded,filled,dashed"',
    NodeKind.FUNCTION: 'style="rounded,filled"',
    NodeKind.OUTPUT: 'style="rounded,filled" penwidth=2.5',
    NodeKind.MATERIALIZER: 'style="filled"',
}


class MissingProgramError(FpbusError):
    """A program that a drawing needs is not installed."""

    exit_code = 8


class NotDrawnError(FpbusError):
    """Graphviz did not draw what it was given."""

    exit_code = 8


def dot_of(view: DagView) -> str:
    """Return the DAG as a `digraph`. The same view gives the same text."""
    return "\n".join(_document(view))


def drawn_by_graphviz(view: DagView, form: DrawingFormat) -> bytes:
    """Run `dot` for a png or pdf. Raises `MissingProgramError` without it, and `NotDrawnError` when it gives up."""
    program = shutil.which("dot")
    if program is None:
        raise MissingProgramError(
            f"Drawing a {form} needs the program `dot` of Graphviz, and it is not on the PATH.",
            "Install it (apt-get install graphviz), or choose svg, html or mermaid, which need no program.",
        )
    # A PDF carries the time of its making, and the same DAG shall give the same bytes. New versions of cairo, which
    # writes it, can be told a time; the date of older ones is replaced by another of the same length.
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "0"}
    try:
        done = subprocess.run(
            [program, f"-T{form}"],
            input=dot_of(view).encode(),
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=True,
            env=environment,
        )
    except subprocess.TimeoutExpired as error:
        raise NotDrawnError(
            f"`dot` was not done with {len(view.nodes)} nodes after {_TIMEOUT_S:g} s.", "Choose svg or html."
        ) from error
    except (subprocess.CalledProcessError, OSError) as error:
        said = getattr(error, "stderr", None) or str(error).encode()
        raise NotDrawnError(
            f"`dot` drew no {form}: {said.decode(errors='replace').strip()}", "Choose svg or html."
        ) from error
    return _PDF_DATE.sub(rb"\g<1>19700101000000", done.stdout)


def _document(view: DagView) -> Iterator[str]:
    direction = "LR" if layout_of(view).sideways else "TB"
    yield f"digraph {_quoted(view.title)} {{"
    yield f"  rankdir={direction}; label={_quoted(view.title)}; labelloc=t; labeljust=l; fontsize=18; {_FONT}"
    yield f'  node [shape=box, {_FONT}, fontsize={NAME_SIZE:g}, fontcolor="{LIGHT.text}", margin="0.2,0.1"]'
    yield f'  edge [color="{LIGHT.line}", arrowsize=0.7]'
    for index, (group, nodes) in enumerate(view.groups().items()):
        if group:
            yield f'  subgraph "cluster_{index}" {{ label={_quoted(group)}; fontsize=12; {_CLUSTER}'
        yield from (_node(node) for node in nodes)
        if group:
            yield "  }"
    yield from (_edge(edge) for edge in view.edges)
    yield "}\n"


def _node(node: DagNode) -> str:
    paint = LIGHT.nodes[node.kind]
    label = f"<b>{_markup(name_in_box(node))}</b>"
    if node.type:
        small = f'point-size="{TYPE_SIZE:g}" color="{LIGHT.faint}"'
        label += f"<br/><font {small}>{_markup(type_in_box(node))}</font>"
    look = f'fillcolor="{paint.fill}", color="{paint.border}", {_SHAPES[node.kind]}'
    tooltip = f", tooltip={_quoted(node.doc)}" if node.doc else ""
    return f"  {_quoted(node.name)} [label=<{label}>, {look}{tooltip}]"


def _edge(edge: DagEdge) -> str:
    style = " [style=dashed]" if edge.optional else ""
    return f"  {_quoted(edge.source)} -> {_quoted(edge.target)}{style}"


def _markup(text: str) -> str:
    """Escape for a label in markup. Graphviz 2 takes some labels that end in a bracket for an unfinished `]]>`."""
    return xml_text(text).replace("]", "&#93;")


def _quoted(text: str) -> str:
    """Quote for dot, which takes a backslash in a string as the start of an escape."""
    plain = " ".join(text.split()).replace("\\", "\\\\").replace('"', '\\"').replace("\0", "")
    return f'"{plain}"'
