"""Standard output is for data: a table for people, JSON or YAML for programs. Standard error is for talk."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typer

from .options import Format

Columns = Mapping[str, Callable[[Any], str]]
"""The titles of a table, and how to get each cell from an item."""


def show_list(items: Sequence[Any], columns: Columns, style: Format, nothing: str) -> None:
    """Print items as a table, one JSON array, or one YAML list. An empty table is said in words."""
    if style != "table":
        show_data(items, style)
    elif items:
        show_table(list(columns), [[cell(item) for cell in columns.values()] for item in items])
    else:
        tell(nothing)


def show_data(data: Any, style: Format) -> None:
    """Print one JSON document on one line, or one YAML document."""
    write(text_of(data, style))


def text_of(data: Any, style: Format) -> str:
    """Write one JSON document on one line, or one YAML document."""
    return _json(data) if style == "json" else _yaml(data)


def show_event(event: Any, style: Format) -> None:
    """Print one of a stream: JSON on one line, or a YAML document with its mark."""
    write(_json(event) if style == "json" else f"---\n{_yaml(event)}")


def show_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: with rich on a terminal, in plain columns that nothing truncates elsewhere."""
    from fpbus.schemas.plain import plain

    rows = [[plain(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _show_rich_table(titles, rows)
        return
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    for row in (titles, *rows):
        write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def write(text: str) -> None:
    """Write lines to standard output. A reader that has gone, like `head`, ends the command quietly."""
    try:
        print(_harmless(text), flush=True)
    except BrokenPipeError:
        raise typer.Exit from None


def finish() -> None:
    """Flush standard output; into nowhere when nobody reads it any more, because Python would complain at exit."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def tell(text: str) -> None:
    """Talk to the person at the terminal."""
    print(_harmless(text), file=sys.stderr, flush=True)


def _harmless(text: str) -> str:
    """Write out what a terminal would obey, wherever the text is from. Escapes of our own are rich's business."""
    from fpbus.schemas.plain import plain

    return plain(text, lines=True)


def _show_rich_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*titles, box=None, pad_edge=False, header_style="bold")
    for column in table.columns:
        column.overflow = "fold"  # wrapped, never cut off
    table.columns[0].no_wrap = True  # ids are there to be copied
    for row in rows:
        table.add_row(*(Text(cell, _STYLES.get(cell, "")) for cell in row))
    Console().print(table)


_STYLES = {
    "succeeded": "green",
    "ready": "green",
    "started": "cyan",
    "retrying": "yellow",
    "degraded": "yellow",
    "failed": "red",
    "dead": "red",
    "gone": "red",
    "cancelled": "magenta",
    "ok": "green",
    "warning": "yellow",
    "fault": "red",
    "skipped": "dim",
}


def _json(data: Any) -> str:
    import msgspec

    from fpbus.schemas.plain import plain_json

    return plain_json(msgspec.json.encode(data).decode())


def _yaml(data: Any) -> str:
    import msgspec
    import yaml

    plain_data = msgspec.to_builtins(data)
    text: str = yaml.safe_dump(plain_data, sort_keys=False, allow_unicode=True)
    if _harmless(text) != text:  # what is no ASCII as escapes then, which YAML knows
        text = yaml.safe_dump(plain_data, sort_keys=False)
    return text.rstrip("\n")
