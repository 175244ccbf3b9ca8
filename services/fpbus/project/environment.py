"""Settings from the environment that lie over the files: `FPBUS_RUN__MAX_RETRIES=2`.

Two underscores lead into a section. What lies over a pipeline's file lies over every pipeline's; what is for
schedules, over every pipeline that has one. Names have no case: `FPBUS_PARAMS__SCALE` is also a parameter `Scale` that
the file has, else `scale`.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from fpbus.schemas import PipelineConfig, ProjectConfig, lay

from .errors import guess
from .faults import Key
from .kinds import kind_at, takes_only_text
from .second_names import lift, lift_key

_PREFIX: Final = "FPBUS_"
#: `limits` is the project's: how much a message may be. Those of a pipeline stand in its own file.
_PIPELINES: Final = frozenset(PipelineConfig.__struct_fields__) - {"limits"}
#: Whether pickles may be read is for the project's own file to say.
_PROJECTS: Final = frozenset(ProjectConfig.__struct_fields__) - _PIPELINES - {"cache"}


def overlay(document: dict[str, Any], kind: type[Struct]) -> tuple[dict[str, Any], dict[Key, str]]:
    """Return what a file says with the environment over it, and which variable is at which key."""
    sections = _PIPELINES if kind is PipelineConfig else _PROJECTS
    used: dict[Key, str] = {}
    for variable, named in _variables().items():
        if named[0] in sections and (named[0] != "schedule" or "schedule" in document):
            key = _as_written(document, lift_key(named))
            document = _laid(document, key, _reading(os.environ[variable], kind_at(kind, key)))
            used[key] = variable
    return lift(document), used


def strangers() -> Iterator[tuple[str, str, str]]:
    """Yield the variables that lead nowhere, each with a sentence and a hint."""
    known = _PIPELINES | _PROJECTS
    for variable, key in _variables().items():
        if key[0] not in known:
            yield variable, f"The environment variable {variable} names no section.", guess(key[0], known)
        elif not all(key):
            yield (
                variable,
                f"The environment variable {variable} names no key.",
                f"Such as {variable.rstrip('_')}__KEY.",
            )


def _variables() -> dict[str, Key]:
    """Return the variables that are overlays; that of a section comes before those of its keys."""
    names = sorted(name for name in os.environ if name.startswith(_PREFIX) and "__" in name)
    return {name: tuple(name.removeprefix(_PREFIX).lower().split("__")) for name in names}


def _reading(text: str, kind: Any) -> Any:
    """Read JSON, where a text alone is not what is wanted; what is no JSON is text."""
    if takes_only_text(kind):
        return text
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text


def _as_written(document: Any, key: Key) -> Key:
    """Spell a key as the file does."""
    spelled: list[str] = []
    for part in key:
        names = document if isinstance(document, Mapping) else {}
        name = part if part in names else next((name for name in names if name.lower() == part), part)
        spelled.append(name)
        document = names.get(name)
    return tuple(spelled)


def _laid(document: dict[str, Any], key: Key, value: Any) -> dict[str, Any]:
    """Lay one value over: in `run:` as settings lie over each other, elsewhere in the place of what was there."""
    if key == ("run", "retry") and isinstance(value, Mapping):
        return {**document, "run": lay(document.get("run", {}), value)}
    if key[0] == "run" and len(key) == 2 and (key[1] == "executor" or not isinstance(value, str)):
        return {**document, "run": lay(document.get("run", {}), {key[1]: value})}
    return _put(document, key, value)


def _put(document: dict[str, Any], key: Key, value: Any) -> dict[str, Any]:
    """Return the document with one value changed; what lies beside it stays."""
    first, *rest = key
    if not rest:
        return {**document, first: value}
    section = document.get(first)
    return {**document, first: _put(section if isinstance(section, dict) else {}, tuple(rest), value)}
