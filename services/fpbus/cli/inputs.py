"""Read what people type after an option. What cannot be read is a usage error that names the option.

Objects and lists are JSON, `@file` or `-`; for FlowerPower's users also Python literals, `a=1,b=2` and `a,b`.
"""

import ast
import difflib
import re
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args

import typer

if TYPE_CHECKING:
    from fpbus.schemas import ListRuns, PutSchedule, RunRequest, RunSettings

T = TypeVar("T")

_PART: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)\s*")
_SPAN: Final = re.compile(rf"(?:{_PART.pattern})+")
_NEXT_PAIR: Final = re.compile(r",(?=\s*[A-Za-z_][\w.-]*\s*=)")
_SWITCHES: Final = {"true": True, "false": False}
_SECONDS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def read_inputs(pairs: Sequence[str], document: str | None) -> dict[str, Any] | None:
    """Put `--inputs` and the `--input`s together; the single ones win. None when there are neither."""
    inputs = read_object(document, "--inputs") if document is not None else {}
    inputs |= dict(_pair(text, "--input") for text in pairs)
    return inputs if pairs or document is not None else None


def read_object(text: str, option: str) -> dict[str, Any]:
    """Read an object given as it is, as `@file`, or on standard input as `-`."""
    text = _text(text, option)
    if not text.lstrip().startswith(("{", "[")) and "=" in text:
        return dict(_pair(pair, option) for pair in _NEXT_PAIR.split(text))
    value = _document(text, option)
    if not isinstance(value, dict):
        raise _unusable(f'a JSON object is needed, like {{"x": 1}}, but this is {_kind(value)}.', option)
    return {str(name): item for name, item in value.items()}


def read_pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """Read `name=value`s whose values are texts."""
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise _unusable(f"{text!r} is not of the form name=value.", option)
        pairs[name] = value
    return pairs


def read_bytes(text: str, option: str) -> bytes:
    """Read bytes given as text, as `@file`, or on standard input as `-`."""
    if text == "-":
        return sys.stdin.buffer.read()
    if not text.startswith("@"):
        return text.encode()
    try:
        return Path(text[1:]).read_bytes()
    except OSError as error:
        raise _unusable(f"{text[1:]} cannot be read: {error.strerror}.", option) from None


def read_names(text: str | None, option: str) -> list[str] | None:
    """Read names as a JSON list, or separated by commas."""
    if text is None:
        return None
    text = _text(text, option)
    if not text.lstrip().startswith(("[", "{")):
        return [name.strip() for name in text.split(",") if name.strip()]
    value = _document(text, option)
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise _unusable('a list of names is needed, like a,b or ["a", "b"].', option)
    return value


def read_switch(text: str | None, option: str) -> bool | dict[str, Any] | None:
    """Read `true`, `false` or an object."""
    if text is None:
        return None
    switch = _SWITCHES.get(text.strip().lower())
    return read_object(text, option) if switch is None else switch


def read_adapters(text: str | None, option: str) -> dict[str, Any] | None:
    """Read which adapters are switched on and off; FlowerPower's manual calls the Hamilton tracker `tracker`, too."""
    if text is None:
        return None
    return {"hamilton_tracker" if name == "tracker" else name: on for name, on in read_object(text, option).items()}


def read_kind(text: str | None, option: str) -> dict[str, Any] | None:
    """Read a name like `threadpool`, or an object with its settings; a name becomes `{"type": name}`."""
    if text is None:
        return None
    bare = text.strip()
    if bare != "-" and not bare.startswith(("{", "[", "@", '"')) and "=" not in bare:
        return {"type": bare}
    return read_object(text, option)


def read_executor(text: str | None) -> dict[str, Any] | None:
    """Read `--job-executor`, and raise a usage error for what no run could have."""
    import msgspec

    from fpbus.schemas import ExecutorConfig

    kind = read_kind(text, "--job-executor")
    try:
        msgspec.convert(kind, ExecutorConfig | None)
    except msgspec.ValidationError as error:
        raise _unusable(f"{text!r}: {_misfit(str(error), ExecutorConfig)}", "--job-executor") from None
    return kind


def read_moment(text: str | None, option: str, now: datetime, *, past: bool) -> datetime | None:
    """Read a time as ISO 8601, or as a span like `1h30m` before `now` (`past`) or after it."""
    if text is None:
        return None
    try:
        if _SPAN.fullmatch(text.strip()):
            distance = timedelta(seconds=sum(float(size) * _SECONDS[unit] for size, unit in _PART.findall(text)))
            return now - distance if past else now + distance
        return datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        example = "2026-11-22T10:15:00Z, or a span like 30s, 15m, 1h30m, 1d"
        raise _unusable(f"{text!r} is no time; write {example}.", option) from None


def read_start(text: str | None, option: str, now: datetime, zone: tzinfo) -> datetime | None:
    """Read when a run is to start, in `zone` where it has none of its own; that must lie ahead."""
    at = read_moment(text, option, now, past=False)
    if at is None:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=zone)
    if at < now:
        raise _unusable(f"{at.isoformat(sep=' ', timespec='seconds')} is over.", option)
    return at


def make_request(**fields: Any) -> "RunRequest":
    """Make a request of what was typed; raise a usage error that names the option which does not fit."""
    from fpbus.schemas import RunRequest

    return _convert(fields, RunRequest)


def make_schedule(**fields: Any) -> "PutSchedule":
    """Make a schedule of what was typed; raise a usage error that names the option which does not fit."""
    from fpbus.schemas import PutSchedule

    return _convert(fields, PutSchedule)


def make_listing(**fields: Any) -> "ListRuns":
    """Make a question to the history of what was typed; raise a usage error that names an option that does not fit."""
    from fpbus.schemas import ListRuns

    return _convert(fields, ListRuns)


def make_settings(**fields: Any) -> "RunSettings":
    """Make settings of a run of what was typed; raise a usage error that names the option which does not fit."""
    import msgspec

    from fpbus.schemas import CacheConfig, ExecutorConfig, RunConfig, RunSettings

    settings = _convert(fields, RunSettings)
    parts = {"cache": CacheConfig, "executor": ExecutorConfig, "with_adapter": None}
    for name, kind in parts.items():  # what is in them is checked where they meet a configuration
        try:
            RunConfig().override(RunSettings(**{name: getattr(settings, name)}))
        except msgspec.ValidationError as error:
            raise _unusable(_misfit(str(error), kind), f"--{name.replace('_', '-')}") from None
    return settings


def _convert(fields: dict[str, Any], kind: type[T]) -> T:
    import msgspec

    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        sentence, _, path = str(error).partition(" - at `$.")
        option = re.split(r"[.\[`]", path)[0].replace("_", "-")
        raise _unusable(f"{sentence}.", f"--{option}") from None


def _misfit(sentence: str, kind: type[Any] | None) -> str:
    """Say what does not fit inside an option's object, and what would."""
    import msgspec

    what, _, path = sentence.partition(" - at `$")
    key = path.strip("`.")
    types = {field.name: field.type for field in msgspec.structs.fields(kind)} if kind else {}
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", what):
        return f"there is no key {unknown[1]!r} in it{_guess(unknown[1], list(types))}"
    if stranger := re.fullmatch(r"Invalid enum value '(.*)'", what):
        return f"there is no {key} {stranger[1]!r}{_guess(stranger[1], get_args(types[key]))}"
    return f"`{key}`: {what[:1].lower()}{what[1:]}." if key else f"{what}."


def _guess(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f". Did you mean {close[0]!r}?" if close else f"; there are {', '.join(known)}."


def _pair(text: str, option: str) -> tuple[str, Any]:
    """Read `name=value`; a value that is no JSON is a string."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise _unusable(f"{text!r} is not of the form name=value.", option)
    return name.strip(), _value(value)


def _value(text: str) -> Any:
    try:
        return _parse(text)
    except ValueError:
        literal = _literal(text) if text.lstrip().startswith(("{", "[")) else None
        return _SWITCHES.get(text.lower(), text) if literal is None else literal


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


def _document(text: str, option: str) -> Any:
    """Read JSON, or a Python literal; the complaint is about the JSON."""
    try:
        return _parse(text)
    except ValueError as error:
        literal = _literal(text)
        if literal is None:
            raise _unusable(f"this is no JSON: {error}.", option) from None
        return literal


def _literal(text: str) -> Any:
    """Read a Python literal; None where it is none."""
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None


def _parse(text: str) -> Any:
    import msgspec

    try:
        return msgspec.json.decode(text)  # stricter than the standard library's: NaN is not JSON
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _kind(value: Any) -> str:
    names = {list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else f"a {type(value).__name__}")


def _unusable(sentence: str, option: str) -> typer.BadParameter:
    return typer.BadParameter(sentence, param_hint=option)
