"""FlowerPower's other ways to write a key, turned into the one that we have.

`executor: threadpool`, the block `retry:` and the adapter `tracker`, all of them in `run:`.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from .faults import Complaint, Key

_RETRY: Final = ("run", "retry")
_TRACKER: Final = ("run", "with_adapter", "tracker")
_OURS: Final = "hamilton_tracker"


def lift(document: dict[str, Any]) -> dict[str, Any]:
    """Return a file's content with `run:` in its one form."""
    run = document.get("run")
    if not isinstance(run, Mapping):
        return document
    lifted = dict(run)
    if isinstance(run.get("executor"), str):
        lifted["executor"] = {"type": run["executor"]}
    retry = lifted.pop("retry", {})
    lifted = {**(retry if isinstance(retry, Mapping) else {}), **lifted}
    if isinstance(adapters := run.get("with_adapter"), Mapping):
        lifted["with_adapter"] = {(_OURS if name == "tracker" else name): on for name, on in adapters.items()}
    return {**document, "run": lifted}


def clashes(document: dict[str, Any]) -> Iterator[Complaint]:
    """Yield what is wrong with second names: no block where one must be, and a key given under both its names."""
    run = document.get("run")
    if not isinstance(run, Mapping):
        return
    retry, adapters = run.get("retry", {}), run.get("with_adapter")
    if not isinstance(retry, Mapping):
        yield (
            _RETRY,
            f"`run.retry` is {retry!r}; it must be a mapping.",
            "For the number of tries alone there is `run.max_retries`.",
        )
    for name in retry if isinstance(retry, Mapping) else ():
        if name in run:
            yield (*_RETRY, name), f"`run.{name}` is there too, so one of them would be ignored.", "Remove one."
    if isinstance(adapters, Mapping) and "tracker" in adapters and _OURS in adapters:
        yield _TRACKER, f"`tracker` and `{_OURS}` are the same adapter, and both are there.", "Remove one."


def lift_key(key: Key) -> Key:
    """Return our name of a key."""
    if key[:2] == _RETRY and len(key) > len(_RETRY):
        return ("run", *key[2:])
    return (*_TRACKER[:2], _OURS) if key == _TRACKER else key


def written_as(key: Key) -> Iterator[Key]:
    """Yield a key as it may stand in a file, our name first."""
    yield key
    if key[:1] == ("run",) and len(key) > 1:
        yield (*_RETRY, *key[1:])
    if key == (*_TRACKER[:2], _OURS):
        yield _TRACKER
