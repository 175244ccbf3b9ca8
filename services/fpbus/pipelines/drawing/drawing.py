"""One DAG, in the format that is asked for."""

from .dot import dot_of, drawn_by_graphviz
from .mermaid import mermaid_of
from .page import page_of
from .svg import svg_of
from .view import DagView, DrawingFormat


def draw(view: DagView, format: DrawingFormat) -> bytes:  # noqa: A002 - the word of the command line's option
    """Return the drawing as the content of a file; text is UTF-8. The same view gives the same bytes.

    png and pdf need Graphviz' program `dot`: without it `MissingProgramError`, and `NotDrawnError` when it gives up.
    """
    match format:
        case DrawingFormat.PNG | DrawingFormat.PDF:
            return drawn_by_graphviz(view, format)
        case DrawingFormat.SVG:
            text = svg_of(view)
        case DrawingFormat.HTML:
            text = page_of(view)
        case DrawingFormat.MERMAID:
            text = mermaid_of(view)
        case DrawingFormat.DOT | DrawingFormat.RAW:
            text = dot_of(view)
    return text.encode()
