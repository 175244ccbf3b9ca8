"""Call a pipeline's hooks. Only `before_run` and the hooks of messages have a say; what others raise is logged."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import msgspec

from fpbus.schemas import FpbusError, HookConfig

from .hook_complaints import RAISED, Complaints
from .hook_search import Hook, find_hooks
from .hooks import Message, RunEnd, RunStart
from .node_hooks import AsyncNodeHooks, NodeHooks
from .scope import RunFacts, RunScope

_Run = TypeVar("_Run", RunStart, RunEnd)


class HookFailedError(FpbusError):
    """A hook that has a say has raised, or returned what cannot be used. `cause` is what it raised, if it did."""

    def __init__(self, message: str, cause: BaseException | None = None) -> None:
        super().__init__(message)
        self.cause = cause


class Hooks:
    """The hooks of one pipeline. May be used by several threads."""

    def __init__(self, pipeline: str, hooks: Sequence[Hook] = ()) -> None:
        self._pipeline = pipeline
        self._complaints = Complaints()
        self._hooks: dict[str, list[Hook]] = {}
        for hook in hooks:
            self._hooks.setdefault(hook.moment, []).append(hook)

    @classmethod
    def load(cls, folder: Path, hooks_dir: str, pipeline: str, configured: Sequence[HookConfig] = ()) -> "Hooks":
        """Import and find a pipeline's hooks; raise `PipelineNotLoadableError` where one cannot be used."""
        return cls(pipeline, find_hooks(folder, hooks_dir, pipeline, configured))

    def has(self, *moments: str) -> bool:
        """Say whether anything is to be called at one of these moments."""
        return any(moment in self._hooks for moment in moments)

    def before_run(self, facts: RunFacts) -> None:
        """Ask whether an attempt may begin; the first hook that raises says no, and `HookFailedError` tells of it."""
        for hook in self._hooks.get("before_run", ()):
            try:
                hook.function(_copy(RunStart(**msgspec.structs.asdict(facts))))
            except RAISED as error:
                _fail(hook, "stopped the run", error)

    def after_run(self, end: RunEnd) -> None:
        """Tell that an attempt is over. Never raises."""
        self._tell("after_run", end)

    def on_success(self, end: RunEnd) -> None:
        """Tell that a run has succeeded. Never raises."""
        self._tell("on_success", end)

    def on_failure(self, end: RunEnd) -> None:
        """Tell that a run has failed for good. Never raises."""
        self._tell("on_failure", end)

    def message(self, topic: str, payload: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return inputs and Hamilton configuration for a message, as the hooks read it; later hooks win.

        Both are the caller's own: nothing that is done to them reaches another message. Raises `HookFailedError`.
        """
        message = Message(pipeline=self._pipeline, topic=topic, payload=payload)
        return self._read("on_message", message), self._read("message_config", message)

    def node_adapter(self, scope: RunScope) -> NodeHooks | None:
        """Return what a driver needs to call the hooks of its nodes; None when there are none."""
        if not self.has("before_node", "after_node"):
            return None
        before, after = self._hooks.get("before_node", []), self._hooks.get("after_node", [])
        return NodeHooks(before, after, scope, self._complaints)

    def async_node_adapter(self, scope: RunScope) -> AsyncNodeHooks | None:
        """Return the same for Hamilton's async driver, which passes over adapters that are not async."""
        adapter = self.node_adapter(scope)
        return AsyncNodeHooks(adapter) if adapter else None

    def _tell(self, moment: str, end: RunEnd) -> None:
        for hook in self._hooks.get(moment, ()):
            try:
                hook.function(_copy(end))
            except RAISED as error:
                self._complaints.tell(hook, end.run_id, error)

    def _read(self, moment: str, message: Message) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for hook in self._hooks.get(moment, ()):
            try:
                returned = hook.function(message)
                merged.update(deepcopy(_names_to_values(returned)))
            except RAISED as error:
                _fail(hook, f"could not read a message on {message.topic!r}", error)
        return merged


def run_end(
    facts: RunFacts,
    duration_s: float,
    outputs: dict[str, Any] | None = None,
    error: BaseException | None = None,
    failed_node: str | None = None,
) -> RunEnd:
    """Put together what hooks may know of an attempt that is over."""
    known = msgspec.structs.asdict(facts)
    return RunEnd(**known, duration_s=duration_s, outputs=outputs, error=error, failed_node=failed_node)


def _copy(run: _Run) -> _Run:
    """Give a hook dicts of its own, so that what it does to them changes neither the run nor what others see."""
    own = {name: dict(value) for name in ("inputs", "config", "outputs") if (value := getattr(run, name, None))}
    return msgspec.structs.replace(run, **own, final_vars=list(run.final_vars))


def _names_to_values(returned: Any) -> dict[str, Any]:
    if isinstance(returned, dict) and all(isinstance(name, str) for name in returned):
        return returned
    raise TypeError(f"it returned a {type(returned).__name__}, where a dict of names and values is due")


def _fail(hook: Hook, what: str, error: BaseException) -> NoReturn:
    kind = type(error).__name__
    raise HookFailedError(f"The hook {hook.tell(error)} {what}: {kind}: {error}", error) from error
