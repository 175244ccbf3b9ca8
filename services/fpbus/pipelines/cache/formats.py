"""The forms in which the cache keeps a value: each gives back exactly what was put in, or is not used.

JSON for what JSON can say, parquet for pandas, npy for numpy, Arrow's IPC for tables, and bytes as they are. A file
is a line of JSON that says the form, and the content below it; its version is its checksum. Pickle is written and
read only where the project allows it: whoever can write such a file could run code in the reader.
"""

import hashlib
import importlib
import io
import json
import math
import pickle
import sys
from typing import Any

import msgspec


class Header(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The first line of a cache file. `name` is for a series of pandas."""

    form: str
    name: str | None = None


class UnreadableError(Exception):
    """A cache file that is damaged, or in a form that may not be read."""


def pack(value: Any, *, allow_pickle: bool) -> bytes | None:
    """Return the file that keeps a value; None where no form gives it back exactly."""
    try:
        packed = _pack(value)
        if packed is None and allow_pickle:
            packed = ("pickle", pickle.dumps(value), None)
    except Exception:
        # pandas, pyarrow and pickle each raise their own, and values do in their methods: then it is not kept.
        return None
    if packed is None:
        return None
    form, content, name = packed
    return msgspec.json.encode(Header(form, name)) + b"\n" + content


def version_of(file: bytes) -> str:
    """Return the version of a packed value: equal versions mean equal values, types included."""
    return hashlib.sha256(file).hexdigest()


def unpack(file: bytes, version: str, *, allow_pickle: bool) -> Any:
    """Return the value in a file; raise `UnreadableError` for what is damaged or not allowed."""
    if version_of(file) != version:
        raise UnreadableError("it is missing, or is not what was written")
    line, _, content = file.partition(b"\n")
    try:
        header = msgspec.json.decode(line, type=Header)
    except msgspec.MsgspecError as error:
        raise UnreadableError("its first line is no header") from error
    if header.form == "pickle" and not allow_pickle:
        raise UnreadableError("it is a pickle, and cache.allow_pickle is false")
    try:
        return _unpack(header, content)
    except Exception as error:
        # Each library raises its own for what is damaged or too new.
        raise UnreadableError(f"it cannot be read: {error}") from error


_Packed = tuple[str, bytes, str | None]


def _pack(value: Any) -> _Packed | None:  # noqa: PLR0911 (one return for each form)
    """Return form, content and name. A library that nobody has imported cannot have made the value."""
    if type(value) is bytes:
        return "bytes", value, None
    if _is_json(value):
        return "json", json.dumps(value).encode(), None
    if (numpy := sys.modules.get("numpy")) and isinstance(value, numpy.ndarray | numpy.generic):
        return _pack_array(numpy, value)
    if (pandas := sys.modules.get("pandas")) and type(value) in {pandas.DataFrame, pandas.Series}:
        return _pack_pandas(pandas, value)
    if (pyarrow := sys.modules.get("pyarrow")) and type(value) is pyarrow.Table:
        return "arrow", _write_arrow(value), None
    if (polars := sys.modules.get("polars")) and type(value) is polars.DataFrame:
        return _pack_polars(polars, value)
    return None


def _unpack(header: Header, content: bytes) -> Any:  # noqa: PLR0911 (one return for each form)
    match header.form:
        case "bytes":
            return content
        case "json":
            return json.loads(content)
        case "npy" | "numpy-scalar":
            array = _read_array(content)
            return array if header.form == "npy" else array[()]
        case "dataframe":
            return _read_frame(content)
        case "series":
            return _read_frame(content)["value"].rename(header.name)
        case "arrow":
            return _read_arrow(content)
        case "polars":
            return _read_polars(content)
        case "pickle":
            return pickle.loads(content)  # noqa: S301 (the project allows it: see `unpack`)
        case unknown:
            raise UnreadableError(f"the form {unknown!r} is not known")


def _is_json(value: Any) -> bool:
    """Say whether JSON gives a value back as it is: no tuples, no NaN, no keys but strings, no subclasses."""
    kind = type(value)
    if kind in {type(None), bool, int, str}:
        return True
    if kind is float:
        return math.isfinite(value)
    if kind is list:
        return all(map(_is_json, value))
    return kind is dict and all(type(key) is str for key in value) and all(map(_is_json, value.values()))


def _pack_array(numpy: Any, value: Any) -> _Packed | None:
    scalar = isinstance(value, numpy.generic)
    if value.dtype.hasobject or not (scalar or type(value) is numpy.ndarray):
        return None
    buffer = io.BytesIO()
    numpy.save(buffer, value, allow_pickle=False)
    back = _read_array(buffer.getvalue())
    exact = back.dtype == value.dtype and back.shape == value.shape and type(back[()]) is type(value[()])
    return ("numpy-scalar" if scalar else "npy", buffer.getvalue(), None) if exact else None


def _read_array(content: bytes) -> Any:
    import numpy as np

    return np.load(io.BytesIO(content), allow_pickle=False)


def _pack_pandas(pandas: Any, value: Any) -> _Packed | None:
    """Write parquet and read it again: only what comes back the same to the last bit of its index is kept."""
    series = isinstance(value, pandas.Series)
    if series and not (value.name is None or type(value.name) is str):
        return None
    frame = value.to_frame("value") if series else value
    if not _has_plain_objects(frame):
        return None
    content = frame.to_parquet(engine="pyarrow")
    back = _read_frame(content)
    exactly = {"check_exact": True, "check_column_type": "exact", "check_index_type": "exact"}
    pandas.testing.assert_frame_equal(frame, back, **exactly)
    if back.attrs != frame.attrs or [type(name) for name in back.columns] != [type(name) for name in frame.columns]:
        return None
    return ("series", content, value.name) if series else ("dataframe", content, None)


def _has_plain_objects(frame: Any) -> bool:
    """Say whether columns and index of Python objects hold text only; other objects come back as what they are not."""
    levels = [frame.index.get_level_values(level) for level in range(frame.index.nlevels)]
    parts = [*levels, *(frame.iloc[:, place] for place in range(frame.shape[1]))]
    return all(part.dtype != object or all(type(item) is str for item in part) for part in parts)


def _read_frame(content: bytes) -> Any:
    import pandas as pd

    return pd.read_parquet(io.BytesIO(content), engine="pyarrow")


def _write_arrow(table: Any) -> bytes:
    from pyarrow import ipc

    buffer = io.BytesIO()
    with ipc.new_stream(buffer, table.schema) as writer:
        writer.write_table(table)
    return buffer.getvalue()


def _read_arrow(content: bytes) -> Any:
    from pyarrow import ipc

    with ipc.open_stream(io.BytesIO(content)) as reader:
        return reader.read_all()


def _pack_polars(polars: Any, frame: Any) -> _Packed | None:
    if polars.Object in frame.dtypes:
        return None
    buffer = io.BytesIO()
    frame.write_ipc(buffer)
    back = _read_polars(buffer.getvalue())
    return ("polars", buffer.getvalue(), None) if back.schema == frame.schema and back.equals(frame) else None


def _read_polars(content: bytes) -> Any:
    return importlib.import_module("polars").read_ipc(io.BytesIO(content))
