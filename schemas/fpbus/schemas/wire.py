"""Bytes to messages and back, with limits that hold before anything large is built."""

from functools import lru_cache
from typing import Any, Final, TypeVar

import msgspec

JSON: Final = "application/json"
MSGPACK: Final = "application/msgpack"

MAX_PAYLOAD: Final = 1024 * 1024
MAX_NESTING: Final = 64

T = TypeVar("T")

_encoder = msgspec.json.Encoder()


class WireError(ValueError):
    """Bytes that are not the message they should be. `field` is a path like `$.inputs.x`, where one is known."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class UnknownFieldError(WireError):
    """A message has a field that its type does not know."""


class TooDeepError(WireError):
    """A message is nested deeper than the limit."""


def encode(message: Any) -> bytes:
    """Encode a message as JSON."""
    return _encoder.encode(message)


def decode(payload: bytes, kind: type[T], content_type: str | None = None, max_nesting: int = MAX_NESTING) -> T:
    """Decode JSON, or MessagePack when `content_type` says so.

    Raises
    ------
    WireError
        with a sentence for people and the path of the offending field; its subclasses say which
        kind of fault it is. Nothing else is raised, whatever the bytes.

    """
    decoder = _decoder(kind, content_type == MSGPACK)  # type: ignore[arg-type]  # a class is hashable
    try:
        message: T = decoder.decode(payload)
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from None
    except RecursionError:
        raise TooDeepError(f"The message is nested deeper than {max_nesting} levels.") from None
    except (ValueError, MemoryError) as error:  # msgspec.DecodeError and UnicodeDecodeError are ValueErrors
        raise WireError(f"{error}.") from None
    if _may_be_deep(payload, content_type, max_nesting):
        _check_nesting(message, max_nesting)
    return message


@lru_cache(maxsize=256)
def _decoder(kind: type[T], msgpack: bool) -> "msgspec.json.Decoder[T] | msgspec.msgpack.Decoder[T]":  # noqa: FBT001
    return msgspec.msgpack.Decoder(kind) if msgpack else msgspec.json.Decoder(kind)


def _explain(sentence: str) -> WireError:
    """Take msgspec's sentence apart: ``Expected `int`, got `str` - at `$.inputs` ``."""
    text, _, path = sentence.partition(" - at `")
    field = path.rstrip("`") or None
    if text.startswith("Object contains unknown field `"):
        name = text.split("`")[1]
        return UnknownFieldError(f"There is no field '{name}' in this message.", f"{field or '$'}.{name}")
    if text.startswith("Object missing required field `"):
        name = text.split("`")[1]
        return WireError(f"The field '{name}' is missing.", f"{field or '$'}.{name}")
    return WireError(f"{text}.", field)


def _may_be_deep(payload: bytes, content_type: str | None, max_nesting: int) -> bool:
    """Counting brackets costs a microsecond; walking the values of a large message costs milliseconds."""
    if content_type == MSGPACK:
        return len(payload) > max_nesting
    return payload.count(b"[") + payload.count(b"{") > max_nesting


def _check_nesting(message: Any, limit: int) -> None:
    level: list[Any] = [message]
    for _ in range(limit):
        level = [child for value in level for child in _children(value) if isinstance(child, _CONTAINERS)]
        if not level:
            return
    raise TooDeepError(f"The message is nested deeper than {limit} levels.")


_CONTAINERS: Final = (msgspec.Struct, dict, list)


def _children(value: Any) -> list[Any]:
    if isinstance(value, msgspec.Struct):
        return [getattr(value, name) for name in value.__struct_fields__]
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
