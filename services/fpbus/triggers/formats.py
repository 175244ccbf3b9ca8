"""From a payload to values, as its Content Type says, else as the trigger says. Never guessed."""

import base64
import csv
from collections.abc import Callable, Mapping
from typing import Any, Final

from fpbus.schemas import JSON, MSGPACK, RejectionCode, TooDeepError, WireError, decode

from .verdicts import RefusedError

_CONTENT_TYPES: Final[Mapping[str, str]] = {
    JSON: "json",
    MSGPACK: "msgpack",
    "application/vnd.msgpack": "msgpack",
    "application/x-msgpack": "msgpack",
    "text/plain": "text",
    "text/csv": "csv",
    "application/octet-stream": "bytes",
}


def format_of(content_type: str | None, otherwise: str) -> str:
    """Return the format that a Content Type names; one that says nothing leaves it to the trigger."""
    named = (content_type or "").partition(";")[0].strip().lower()
    return _CONTENT_TYPES.get(named, otherwise)


def read_payload(payload: bytes, form: str, nesting: int) -> Any:
    """Decode a payload; raise `RefusedError` for bytes that are not what they should be.

    Bytes become base64 text, because a run's inputs are JSON: a function that declares `bytes` gets them back.
    """
    try:
        return _READERS[form](payload, nesting)
    except TooDeepError as error:
        raise RefusedError(RejectionCode.TOO_DEEP, str(error), error.field) from None
    except (WireError, UnicodeDecodeError, csv.Error) as error:
        raise RefusedError(RejectionCode.INVALID_PAYLOAD, f"The payload is no {form}: {error}", "$") from None


def _json(payload: bytes, nesting: int) -> Any:
    return decode(payload, object, None, nesting)


def _msgpack(payload: bytes, nesting: int) -> Any:
    return decode(payload, object, MSGPACK, nesting)


def _text(payload: bytes, _nesting: int) -> str:
    return payload.decode()


def _bytes(payload: bytes, _nesting: int) -> str:
    return base64.b64encode(payload).decode()


def _csv(payload: bytes, _nesting: int) -> list[dict[str, str]]:
    """Read rows under a line of names; every cell stays text."""
    lines = payload.decode("utf-8-sig").splitlines()
    reader = csv.DictReader(lines, restkey="", strict=True)
    rows = list(reader)
    for row in rows:
        if "" in row or None in row.values():
            raise csv.Error(f"a row has not {len(reader.fieldnames or [])} cells")
    return rows


_READERS: Final[Mapping[str, Callable[[bytes, int], Any]]] = {
    "json": _json,
    "msgpack": _msgpack,
    "text": _text,
    "bytes": _bytes,
    "csv": _csv,
}
