"""How settings of a run lie over each other: a layer changes what it names, and nothing else.

0, false and empty are values; a key that is not there, or null, is not named.
"""

from collections.abc import Mapping
from typing import Any, Final

_BY_KEY: Final = frozenset({"inputs", "config", "with_adapter", "executor", "cache"})


def lay(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `run:` section `below` as `above` changes it.

    Inputs, configuration, adapters, executor and cache are laid over each other key by key, so that
    `executor: threadpool` keeps the `max_workers` below it; a single value inside them is replaced whole.
    """
    merged = dict(below)
    for key, value in above.items():
        if value is not None:
            merged[key] = _lay_key(merged.get(key), value) if key in _BY_KEY else value
    return merged


def _lay_key(below: Any, above: Any) -> Any:
    if isinstance(below, str):  # an executor's short form
        below = {"type": below}
    if isinstance(above, str):
        above = {"type": above}
    if isinstance(below, Mapping) and isinstance(above, Mapping):
        return {**below, **above}
    # `cache: true` over its settings switches them on; false over them switches them off.
    return below if above is True and isinstance(below, Mapping) else above
