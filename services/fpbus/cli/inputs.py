"""Read what people type after an option. What cannot be read is a usage error that names the option."""

import re
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

if TYPE_CHECKING:
    from fpbus.schemas import RunRequest

_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)")
_SECONDS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def read_inputs(pairs: Sequence[str], document: str | None) -> dict[str, Any] | None:
    """Put `--inputs` and the `--input`s together; the single ones win. None when there are neither."""
    inputs = read_object(document, "--inputs") if document is not None else {}
    inputs |= dict(_pair(text) for text in pairs)
    return inputs if pairs or document is not None else None


def read_object(text: str, option: str) -> dict[str, Any]:
    """Read a JSON object given as it is, as `@file`, or on standard input as `-`."""
    value = _json(_text(text, option), option)
    if not isinstance(value, dict):
        raise _unusable(f'a JSON object is needed, like {{"x": 1}}, but this is {_kind(value)}.', option)
    return value


def read_names(text: str | None, option: str) -> list[str] | None:
    """Read names as a JSON list, or separated by commas."""
    if text is None:
        return None
    if not text.lstrip().startswith("["):
        return [name.strip() for name in text.split(",") if name.strip()]
    return [str(name) for name in _json(text, option)]


def read_moment(text: str | None, option: str, now: datetime, *, past: bool) -> datetime | None:
    """Read a time as ISO 8601, or as a span like `2h` before `now` (`past`) or after it."""
    if text is None:
        return None
    try:
        if span := _SPAN.fullmatch(text.strip()):
            distance = timedelta(seconds=float(span[1]) * _SECONDS[span[2]])
            return now - distance if past else now + distance
        return datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        example = "2026-11-22T10:15:00Z, or a span like 30s, 15m, 2h, 1d"
        raise _unusable(f"{text!r} is no time; write {example}.", option) from None


def make_request(**fields: Any) -> "RunRequest":
    """Make a request of what was typed; raise a usage error that names the option which does not fit."""
    import msgspec

    from fpbus.schemas import RunRequest

    try:
        return msgspec.convert(fields, RunRequest)
    except msgspec.ValidationError as error:
        sentence, _, path = str(error).partition(" - at `$.")
        raise _unusable(f"{sentence}.", "--" + path.rstrip("`").replace("_", "-")) from None


def _pair(text: str) -> tuple[str, Any]:
    """Read `name=value`; a value that is no JSON is a string."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise _unusable(f"{text!r} is not of the form name=value.", "--input")
    try:
        return name, _parse(value)
    except ValueError:
        return name, value


def _text(text: str, option: str) -> str:
    if text == "-":
        return sys.stdin.read()
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise _unusable(f"{text[1:]} cannot be read: {reason}.", option) from None


def _json(text: str, option: str) -> Any:
    try:
        return _parse(text)
    except ValueError as error:
        raise _unusable(f"this is no JSON: {error}.", option) from None


def _parse(text: str) -> Any:
    import msgspec

    try:
        return msgspec.json.decode(text)  # stricter than the standard library's: NaN is not JSON
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _kind(value: Any) -> str:
    names = {list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _unusable(sentence: str, option: str) -> typer.BadParameter:
    return typer.BadParameter(sentence, param_hint=option)
