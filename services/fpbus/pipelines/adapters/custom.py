"""Adapters of the project's own: classes by dotted name."""

import importlib
from typing import Any

from hamilton.lifecycle import base

from .errors import AdapterError
from .guard import async_hooks_of, hooks_of


def import_adapter(name: str, dotted: str) -> type:
    """Import a class that Hamilton can call; raise `AdapterError` for anything else.

    The project's folder is on the path, so `hooks.audit.Audit` is the class `Audit` in `hooks/audit.py`.
    """
    module_name, _, attribute = dotted.rpartition(".")
    found = getattr(_module(name, module_name, dotted), attribute, None)
    if found is None:
        raise AdapterError(f"The adapter {name!r} is to be {dotted}, but {module_name} has no {attribute!r}.")
    if not isinstance(found, type) or not (hooks_of(found) or changes_runs(found) or async_hooks_of(found)):
        raise AdapterError(
            f"The adapter {name!r} is to be {dotted}, which is no lifecycle adapter of Hamilton's.",
            "Derive it from a class of hamilton.lifecycle, such as NodeExecutionHook.",
        )
    if async_hooks_of(found):
        raise AdapterError(
            f"The adapter {name!r} is {dotted}, whose hooks are coroutines.",
            "Write them as plain functions; they are called in async runs too.",
        )
    return found


def changes_runs(kind: type) -> bool:
    """Tell whether an adapter does more than listen: it executes nodes, builds the result, or judges the DAG."""
    more = (base.SYNC_METHOD, base.ASYNC_METHOD, base.SYNC_VALIDATOR)
    return any(attribute in vars(marker) for marker in _hamiltons(kind) for attribute in more)


def _hamiltons(kind: type) -> list[type]:
    return [marker for marker in kind.__mro__ if marker.__module__ == base.__name__]


def _module(name: str, module_name: str, dotted: str) -> Any:
    if not module_name:
        raise AdapterError(f"The adapter {name!r} is to be {dotted!r}, which names no module.", "Write module.Class.")
    try:
        return importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        # Whatever the module does while it is imported is the user's.
        raise AdapterError(
            f"The adapter {name!r} is to be {dotted}, but {module_name} cannot be imported: "
            f"{type(error).__name__}: {error}"
        ) from error
