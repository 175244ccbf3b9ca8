"""Stands between Hamilton and an adapter that only listens, so that nothing it raises reaches the run.

The adapter is made when a run begins, not when the driver is built: a server that is away costs one run its record,
and the next run tries again. What Hamilton told while it built the driver is told to the adapter then.
"""

import logging
import threading
import types
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

from hamilton.lifecycle import base

from fpbus.pipelines.scope import RunScope

_log: Final = logging.getLogger("fpbus.pipelines.adapters")

_BEGIN: Final = "pre_graph_execute"
_END: Final = "post_graph_execute"
_WHILE_BUILDING: Final = frozenset({"pre_do_anything", "post_graph_construct"})
_OF_NODES: Final = frozenset({"pre_node_execute", "post_node_execute"})

_RAISED: Final = (Exception, SystemExit)
"""What an adapter may raise without ending more than itself."""


def guarded(name: str, kind: type, make: Callable[[], Any], scope: RunScope, *, awaited: bool) -> Any:
    """Return what Hamilton may call in place of an adapter of the class `kind`, which `make` makes when a run begins.

    Hamilton's async driver calls plain hooks of nodes when it plans a node; `awaited` ones it calls when a node runs.
    """
    hooks = hooks_of(kind) | {_BEGIN, _END}
    late = hooks & _OF_NODES if awaited else set[str]()
    markers = [_MARKERS[hook, hook in late] for hook in sorted(hooks)]
    methods = {hook: _coroutine(hook) if hook in late else _function(hook) for hook in hooks}
    guard = types.new_class(f"Guarded{kind.__name__}", (Guard, *markers), exec_body=lambda body: body.update(methods))
    return guard(name, hooks_of(kind), make, scope)


def hooks_of(kind: type) -> set[str]:
    """Return the names of the plain hooks that Hamilton would call on objects of this class."""
    return {hook for (hook, late), marker in _MARKERS.items() if not late and issubclass(kind, marker)}


def async_hooks_of(kind: type) -> set[str]:
    """Return the names of the hooks that are coroutines."""
    return {hook for (hook, late), marker in _MARKERS.items() if late and issubclass(kind, marker)}


def _marker_classes() -> dict[tuple[str, bool], type]:
    """Return Hamilton's classes by the one hook that each stands for, and whether the hook is a coroutine."""
    found: dict[tuple[str, bool], type] = {}
    for marker in vars(base).values():
        for attribute, late in ((base.SYNC_HOOK, False), (base.ASYNC_HOOK, True)):
            if isinstance(marker, type) and attribute in vars(marker):
                found[vars(marker)[attribute], late] = marker
    return found


_MARKERS: Final = _marker_classes()


class Guard:
    """Passes hooks on to an adapter, until one raises; then the adapter is off for that run."""

    def __init__(self, name: str, hooks: set[str], make: Callable[[], Any], scope: RunScope) -> None:
        self._name = name
        self._hooks = hooks
        self._make = make
        self._scope = scope
        self._adapter: Any = None
        self._while_building: list[tuple[str, dict[str, Any]]] = []
        self._off_for: str | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        """Stay in this process: what is computed in others is not heard of there."""
        return Absent, ()

    def hear(self, hook: str, arguments: dict[str, Any]) -> None:
        """Pass a hook on, if the adapter has it and is not off. Never raises what the adapter raises."""
        if hook in _WHILE_BUILDING:
            self._while_building.append((hook, arguments))
        elif self._scope.facts.run_id != self._off_for:
            self._pass_on(hook, arguments)
        if hook == _END and self._scope.facts.run_id == self._off_for:
            self._abandon()

    def _pass_on(self, hook: str, arguments: dict[str, Any]) -> None:
        try:
            if hook == _BEGIN and self._adapter is None:
                self._adapter = self._made()
            if hook in self._hooks and self._adapter is not None:
                getattr(self._adapter, hook)(**arguments)
        except _RAISED as error:
            # An adapter raises whatever its library and the network do.
            self._switch_off(hook, error)

    def _made(self) -> Any:
        adapter = self._make()
        for hook, arguments in self._while_building:
            getattr(adapter, hook)(**arguments)
        return adapter

    def _switch_off(self, hook: str, error: BaseException) -> None:
        facts = self._scope.facts
        with self._lock:
            if self._off_for == facts.run_id:
                return
            self._off_for = facts.run_id
        kind = type(error).__name__
        extra = {"adapter": self._name, "hook": hook, "run_id": facts.run_id, "pipeline": facts.pipeline}
        sentence = "adapter %s raised in %s and is off for this run: %s: %s"
        _log.warning(sentence, self._name, hook, kind, error, extra=extra)

    def _abandon(self) -> None:
        """Let an adapter of ours clean up after a run that it was switched off in."""
        abandon = getattr(self._adapter, "abandon", None)
        if abandon is not None:
            with suppress(*_RAISED):
                abandon()


class Absent:
    """What a guard is in another process: nothing."""

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return _nothing


def _nothing(**_: Any) -> None:
    """Do not listen."""


def _function(hook: str) -> Callable[..., None]:
    def heard(self: Guard, **arguments: Any) -> None:
        self.hear(hook, arguments)

    return heard


def _coroutine(hook: str) -> Callable[..., Coroutine[Any, Any, None]]:
    async def heard(self: Guard, **arguments: Any) -> None:
        self.hear(hook, arguments)

    return heard
