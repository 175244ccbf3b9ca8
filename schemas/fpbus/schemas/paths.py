"""Paths into decoded messages: names and places joined by dots, such as `payload.sensors.0.celsius`."""

from collections.abc import Mapping, Sequence
from typing import Any


def value_at(value: Any, path: str) -> Any:
    """Return what lies at a path of names and places joined by dots; a name may have dots itself.

    Raises `LookupError` where there is nothing.
    """
    if not path:
        return value
    if isinstance(value, Sequence) and not isinstance(value, str):
        place, _, rest = path.partition(".")
        if not place.isdecimal():
            raise LookupError(path)
        return value_at(value[int(place)], rest)
    if isinstance(value, Mapping):
        if path in value:
            return value[path]
        for name in sorted((name for name in value if isinstance(name, str)), key=len, reverse=True):
            if path.startswith(f"{name}."):
                return value_at(value[name], path[len(name) + 1 :])
    raise LookupError(path)
