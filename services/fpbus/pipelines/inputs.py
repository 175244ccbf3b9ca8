"""Inputs, from what JSON can say to what the functions ask for, or in words what does not fit."""

import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

import msgspec
from hamilton.htypes import check_input_type
from hamilton.lifecycle.base import BaseDoValidateInput

_PLACE: Final = re.compile(r" - at (?:`key` in )?`([^`]*)`")
_VALUE: Final = re.compile(r"^(Invalid (?:enum )?value) .*")
_PLAIN: Final = (str, int, float, bool, type(None), bytes)


class _ForeignTypeError(Exception):
    """A type is asked for that only the functions know: a DataFrame, a class of the user's."""


def fit(
    values: Mapping[str, Any], types: Mapping[str, Any], nullable: Collection[str] = ()
) -> tuple[dict[str, Any], dict[str, str]]:
    """Turn what JSON can say into what the functions ask for: 25 into a float, text into a datetime.

    Returns the inputs, and for each that does not fit a sentence that shows no values. Objects of Python's that
    msgspec cannot convert are left as they are, for Hamilton to look at.
    """
    fitted, misfits = dict(values), {}
    for name, value in values.items():
        kind = types.get(name)
        if kind is None or type(value) is kind or (value is None and name in nullable):
            continue
        try:
            fitted[name] = _converted(value, kind)
        except _ForeignTypeError:
            pass
        except msgspec.ValidationError as error:
            if _is_plain(value) or not passes(kind, value):
                misfits[name] = _misfit(name, value, kind, str(error))
    return fitted, misfits


def _converted(value: Any, kind: Any) -> Any:
    """Convert a value to a type; raise `msgspec.ValidationError`, or another error where msgspec cannot know."""
    try:
        return msgspec.convert(value, kind, str_keys=True, dec_hook=_convert_foreign)
    except TypeError:  # a type that msgspec refuses as a whole
        raise _ForeignTypeError from None


def is_pydantic(kind: Any) -> bool:
    return isinstance(kind, type) and hasattr(kind, "model_validate_json") and hasattr(kind, "model_json_schema")


def passes(kind: Any, value: Any) -> bool:
    """Tell whether the functions can take a value as it is.

    Hamilton takes neither a `tuple[int, str]` nor a TypedDict, whatever is in them: those may pass that convert to
    themselves.
    """
    try:
        return bool(check_input_type(kind, value)) or _is_converted(kind, value)
    except TypeError:  # Hamilton cannot ask
        return _is_converted(kind, value)


def _is_converted(kind: Any, value: Any) -> bool:
    try:
        again = _converted(value, kind)
    except (_ForeignTypeError, msgspec.ValidationError):
        return False
    return type(again) is type(value) and bool(again == value)


def nullable_inputs(nodes: Iterable[Any]) -> frozenset[str]:
    """Return the inputs that may be null whatever their hint says: those that are by default."""
    return frozenset(node.name for node in nodes if node.user_defined and _is_none_by_default(node))


def _convert_foreign(kind: Any, value: Any) -> Any:
    if is_pydantic(kind):
        return value if isinstance(value, kind) else _convert_pydantic(kind, value)
    raise _ForeignTypeError


def _convert_pydantic(kind: Any, value: Any) -> Any:
    """Read a model as from JSON, and as strictly as msgspec reads: "1" is no number."""
    try:
        return kind.model_validate_json(msgspec.json.encode(value), strict=True)
    except ValueError as error:
        details: Callable[..., list[dict[str, Any]]] | None = getattr(error, "errors", None)
        if details is None:
            raise
        first = details(include_input=False)[0]
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        raise ValueError(f"{first['msg']} - at `{place}`") from None


def _misfit(name: str, value: Any, kind: Any, problem: str) -> str:
    text, place = _VALUE.sub(r"\1", _PLACE.sub("", problem)), _place_of(problem)
    if not place:
        return f"The input {name!r} is of type {type(value).__name__}; it must be {type_name(kind)}."
    return f"The input {name!r} does not fit at {name}{place}: {text}."


def _place_of(problem: str) -> str:
    """Return the path that msgspec names at the end of a sentence, without the `$`."""
    return "".join(part.removeprefix("$") for part in reversed(_PLACE.findall(problem)))


def type_name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_is_plain(part) for part in value.values())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return type(value) in _PLAIN


def _is_none_by_default(node: Any) -> bool:
    for taker in node.depended_on_by:
        for function in taker.originating_functions or ():
            parameter = inspect.signature(function).parameters.get(node.name)
            if parameter is not None and parameter.default is None:
                return True
    return False


class InputsLookedAt(BaseDoValidateInput):  # type: ignore[misc]  # Hamilton's classes are Any to us
    """Has Hamilton take every input that the functions can take; it has a narrower view of its own."""

    def do_validate_input(self, *, node_type: Any, input_value: Any) -> bool:
        return passes(node_type, input_value)
