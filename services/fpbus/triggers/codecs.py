"""A codec: a function of the project that reads payloads of a format of its own, such as `decoding.tasmota.read`.

def read(payload: bytes) -> dict: ...
def read(payload: bytes, topic: str, properties: dict[str, str]) -> dict: ...
"""

import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from fpbus.schemas import RejectionCode

from .message import Message
from .verdicts import RefusedError


class ProjectCodecs:
    """Calls a project's codecs in this process, which they may hold up, or end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._functions: dict[str, Callable[..., Any]] = {}

    def __call__(self, name: str, message: Message) -> Any:
        """Return what the codec reads; raise `RefusedError` for what it cannot, and for a codec that is not there."""
        try:
            function = self._functions.get(name) or self.find(name)
            value = function(*_arguments(function, message))
            return msgspec.json.decode(msgspec.json.encode(value))
        except Exception as error:  # whatever a user's function raises
            reason = f"The codec {name} failed: {type(error).__name__}: {error}"
            raise RefusedError(RejectionCode.INVALID_PAYLOAD, reason[:500], "$") from None

    def find(self, name: str) -> Callable[..., Any]:
        """Import a codec; raise whatever its module raises, or `AttributeError` where that has no such function."""
        if str(self._folder) not in sys.path[:1]:
            sys.path.insert(0, str(self._folder))
        module, _, function = name.rpartition(".")
        found: Callable[..., Any] = getattr(importlib.import_module(module), function)
        self._functions[name] = found
        return found


def _arguments(function: Callable[..., Any], message: Message) -> list[Any]:
    given = [message.payload, message.topic, dict(message.properties)]
    kinds = [each.kind for each in inspect.signature(function).parameters.values()]
    takes = len(given) if inspect.Parameter.VAR_POSITIONAL in kinds else len(kinds)
    return given[:takes]
