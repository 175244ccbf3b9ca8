"""The outputs of a run, to read or to go on with: a table, or one JSON or YAML object of them."""

import shutil
import sys
from typing import TYPE_CHECKING, Any, Final

from fpbus.cli.options import Format
from fpbus.cli.output import show_data, show_table, tell, write

if TYPE_CHECKING:
    import msgspec

_HEAD: Final = 10
_LONGEST_TEXT: Final = 1_000
_MOST_CELLS: Final = 1_000_000
_MOST_JSON_BYTES: Final = 16 * 1024 * 1024
_WIDEST_CELL: Final = 50


def show_outcome(outputs: dict[str, Any], style: Format) -> None:
    """Print the outputs. One that JSON cannot hold is told, and stands there as a summary."""
    if style == "table":
        _show_for_reading(outputs)
        return
    import msgspec

    documents = {name: _document(name, value) for name, value in outputs.items()}
    show_data(documents if style == "json" else msgspec.json.decode(msgspec.json.encode(documents)), style)


def _show_for_reading(outputs: dict[str, Any]) -> None:
    tables = {name: value for name, value in outputs.items() if _is_table(value)}
    plain = {name: value for name, value in outputs.items() if name not in tables}
    if plain:
        show_table(["OUTPUT", "VALUE"], [[name, _in_words(value)] for name, value in plain.items()])
    for number, (name, value) in enumerate(tables.items()):
        if plain or number:
            write("")
        _show_head(name, value)


def _show_head(name: str, value: Any) -> None:
    from fpbus.pipelines import summarise

    write(f"{name}: {summarise(value)}")
    write(_head_of(value))
    if (more := len(value) - _HEAD) > 0:
        write(f"... {more} more {'row' if more == 1 else 'rows'}")


def _head_of(value: Any) -> str:
    """Write the first rows; columns are wrapped and cells cut on a terminal only."""
    head: Any = value.slice(0, _HEAD).to_pandas() if _library(value) == "pyarrow" else value.head(_HEAD)
    if _library(head) == "polars":
        return str(head)
    if not hasattr(head, "columns"):
        return str(head.to_string())
    if not sys.stdout.isatty():
        return str(head.to_string())
    return str(head.to_string(line_width=shutil.get_terminal_size().columns, max_colwidth=_WIDEST_CELL))


def _in_words(value: Any) -> str:
    """Write a value as JSON, or as Python shows it where it has none."""
    from fpbus.pipelines import NotEncodableError, summarise

    try:
        text = bytes(_json_of(value)).decode()
    except NotEncodableError:
        return _shown(value)
    if len(text) <= _LONGEST_TEXT:
        return text
    return f"{text[:_LONGEST_TEXT]} ... ({summarise(value)}; --format json shows all of it)"


def _shown(value: Any) -> str:
    from fpbus.pipelines import summarise

    try:
        text = repr(value)
    except Exception:
        # A foreign class may have any `__repr__`.
        return summarise(value)
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]} ... ({summarise(value)})"


def _document(name: str, value: Any) -> Any:
    """Return what stands for a value in a JSON document."""
    from fpbus.pipelines import NotEncodableError, summarise

    try:
        text = _json_of(value)
    except NotEncodableError as error:
        reason = str(error)
    else:
        if len(bytes(text)) <= _MOST_JSON_BYTES:
            return text
        reason = f"has {len(bytes(text))} bytes of JSON, more than {_MOST_JSON_BYTES}"
    tell(f"The output {name!r} {reason}. Its place is taken by a summary.")
    return {"summary": summarise(value), "left_out_because": f"it {reason}"}


def _json_of(value: Any) -> "msgspec.Raw":
    """Encode as the bus does, but tables as records and arrays as lists, and at any length."""
    import msgspec

    from fpbus.pipelines import NotEncodableError, encode_output

    if isinstance(value, bytes | bytearray | memoryview):
        raise NotEncodableError("is binary")
    if _is_table(value):
        value = _records(value)
    elif _library(value) == "numpy":
        value = value.tolist()
    long: list[bytes] = []

    def keep(_name: str, content: bytes) -> str:
        long.append(content)
        return ""

    output = encode_output("", value, keep)
    return msgspec.Raw(long[0]) if long else msgspec.Raw(bytes(output.json))  # type: ignore[arg-type]


def _is_table(value: Any) -> bool:
    return _library(value) in {"pandas", "polars", "pyarrow"} and type(value).__name__ in {
        "DataFrame",
        "Series",
        "Table",
    }


def _library(value: Any) -> str:
    return type(value).__module__.partition(".")[0]


def _records(value: Any) -> list[Any]:
    """Return the rows of a table, each an object by column; what is missing in a row is null."""
    from fpbus.pipelines import NotEncodableError

    cells = value.size if hasattr(value, "size") else value.shape[0] * (value.shape[1] if len(value.shape) > 1 else 1)
    if cells > _MOST_CELLS:
        raise NotEncodableError(f"has {cells} cells, more than {_MOST_CELLS}")
    if _library(value) == "pyarrow":
        rows: list[Any] = value.to_pylist()
    elif _library(value) == "polars":
        rows = value.to_dicts() if hasattr(value, "to_dicts") else value.to_list()
    else:
        rows = _pandas_records(value)
    return rows


def _pandas_records(value: Any) -> list[Any]:
    import pandas as pd

    frame = value.to_frame(value.name if value.name is not None else "value") if value.ndim == 1 else value
    if not isinstance(frame.index, pd.RangeIndex):  # an index that says something is a column
        frame = frame.reset_index()
    frame = frame.astype(object).where(frame.notna(), None)
    frame.columns = [str(column) for column in frame.columns]
    rows: list[Any] = frame.to_dict("records")
    return rows
