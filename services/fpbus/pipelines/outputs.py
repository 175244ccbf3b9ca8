"""Values of a pipeline as the bus can carry them: JSON when small and plain, else a file on the project's storage."""

import json
import math
import sys
from collections.abc import Callable
from io import BytesIO
from typing import Any, Final

import msgspec

from fpbus.schemas import Output

from .nodes import summarise

INLINE_BYTES: Final = 64 * 1024

Store = Callable[[str, bytes], str]
"""Keeps `bytes` under a file name, and returns where."""


class NotEncodableError(ValueError):
    """A value that neither JSON nor a file format of ours can hold."""


def encode_output(name: str, value: Any, store: Store) -> Output:
    """Encode one output; raise `NotEncodableError` where that is not possible."""
    packed = _pack_table(value) or _pack_array(value) or _pack_bytes(value)
    if packed is None:
        text, special = _to_json(value)
        if len(text) <= INLINE_BYTES:
            return Output(json=msgspec.Raw(text), json_special=special)
        packed = ("json", text)
    kind, content = packed
    ref = store(f"{name}.{kind}", content)
    return Output(ref=ref, format=kind, bytes=len(content), summary=summarise(value))


def _pack_table(value: Any) -> tuple[str, bytes] | None:
    """Write what is a table to parquet. A library that nobody imported cannot have made the value."""
    buffer = BytesIO()
    try:
        written = _write_parquet(value, buffer)
    except Exception as error:
        # Each library has exceptions of its own for columns of mixed or foreign types.
        raise NotEncodableError(f"cannot be written as parquet: {error}") from error
    return ("parquet", buffer.getvalue()) if written else None


def _write_parquet(value: Any, buffer: BytesIO) -> bool:
    if (pandas := sys.modules.get("pandas")) and isinstance(value, pandas.DataFrame | pandas.Series):
        frame = value.to_frame(value.name or "value") if isinstance(value, pandas.Series) else value
        frame.to_parquet(buffer, engine="pyarrow")
    elif (polars := sys.modules.get("polars")) and isinstance(value, polars.DataFrame):
        value.write_parquet(buffer)
    elif (pyarrow := sys.modules.get("pyarrow")) and isinstance(value, pyarrow.Table):
        from pyarrow import parquet

        parquet.write_table(value, buffer)
    else:
        return False
    return True


def _pack_array(value: Any) -> tuple[str, bytes] | None:
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, numpy.ndarray):
        return None
    buffer = BytesIO()
    try:
        numpy.save(buffer, value, allow_pickle=False)
    except ValueError as error:
        raise NotEncodableError(f"is an array of Python objects: {error}") from error
    return "npy", buffer.getvalue()


def _pack_bytes(value: Any) -> tuple[str, bytes] | None:
    return ("bin", bytes(value)) if isinstance(value, bytes | bytearray | memoryview) else None


def _to_json(value: Any) -> tuple[bytes, bool]:
    """Return JSON, and whether NaN or infinities stand in it as strings."""
    try:
        return _encoded(value)
    except RecursionError:
        raise NotEncodableError("refers to itself, or is nested too deeply") from None
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise NotEncodableError(f"is not JSON: {error}") from None


def _encoded(value: Any) -> tuple[bytes, bool]:
    try:
        text = _json.encode(value)
    except OverflowError:  # integers beyond 64 bits
        plain = _builtins(value)
        spelled = _spell(plain)
        return json.dumps(spelled).encode(), spelled != plain
    if b"null" not in text:  # msgspec writes what is not finite as null
        return text, False
    text_with_names = _json.encode(_spell(_builtins(value)))
    return text_with_names, text_with_names != text


def _builtins(value: Any) -> Any:
    return msgspec.to_builtins(value, enc_hook=_unwrap)


def _spell(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: _spell(item) for key, item in value.items()}
    return [_spell(item) for item in value] if isinstance(value, list | tuple) else value


def _unwrap(value: Any) -> Any:
    """Turn what msgspec does not know into what it does: numpy's scalars and arrays, pandas' times."""
    for method in ("item", "tolist", "isoformat"):
        if hasattr(type(value), method) and type(value).__module__.partition(".")[0] in {"numpy", "pandas"}:
            return getattr(value, method)()
    raise TypeError(f"a {type(value).__name__} has no JSON form")


_json: Final = msgspec.json.Encoder(enc_hook=_unwrap)
