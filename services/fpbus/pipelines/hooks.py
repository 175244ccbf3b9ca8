"""What a project's hooks import: decorators that say when a function is called, and the values that it is given.

    from fpbus.pipelines.hooks import RunEnd, on_failure

    @on_failure
    def page(end: RunEnd) -> None:
        print(f"{end.pipeline} failed: {end.error}")

`@on_failure` alone is for every pipeline, `@on_failure("hello", "plant_*")` for those that are named.
"""

import inspect
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any, Final, Generic, TypeVar, overload

import msgspec

_MARKS: Final = "__fpbus_hooks__"

Given = TypeVar("Given")
Returned = TypeVar("Returned")


class RunStart(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt at a run begins; `attempt` counts from 1. `inputs` are the run's own, without the params.

    `traceparent` is the trace of the message that the run comes from, if it comes from one.
    The dicts and lists are this hook's own; the values in them are the run's.
    """

    run_id: str
    pipeline: str
    attempt: int
    inputs: dict[str, Any]
    config: dict[str, Any]
    final_vars: list[str]
    traceparent: str | None = None


class RunEnd(RunStart, frozen=True, kw_only=True):
    """An attempt at a run is over: with `outputs`, or with `error` and, if a node raised it, `failed_node`."""

    duration_s: float
    outputs: dict[str, Any] | None = None
    error: BaseException | None = None
    failed_node: str | None = None


class NodeStart(msgspec.Struct, frozen=True, kw_only=True):
    """A node is about to be computed from `arguments`."""

    run_id: str
    pipeline: str
    attempt: int
    node: str
    tags: dict[str, Any]
    arguments: dict[str, Any]


class NodeEnd(NodeStart, frozen=True, kw_only=True):
    """A node is done: with `result`, or with `error`."""

    duration_s: float
    result: Any = None
    error: BaseException | None = None


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message that is to become a run of `pipeline`."""

    pipeline: str
    topic: str
    payload: bytes


class Mark(msgspec.Struct, frozen=True):
    """What a decorator leaves on a function. No `pipelines` means all of them; a name may hold `*`, `?` and `[...]`."""

    moment: str
    pipelines: tuple[str, ...]

    def covers(self, pipeline: str) -> bool:
        return not self.pipelines or any(fnmatchcase(pipeline, pattern) for pattern in self.pipelines)


class HookDecorator(Generic[Given, Returned]):
    """Marks a function as a hook, and leaves it as it is otherwise. Decorators may be stacked."""

    def __init__(self, moment: str) -> None:
        self.moment = moment

    @overload
    def __call__(self, function: Callable[[Given], Returned], /) -> Callable[[Given], Returned]: ...

    @overload
    def __call__(self, /, *pipelines: str) -> Callable[[Callable[[Given], Returned]], Callable[[Given], Returned]]: ...

    def __call__(self, /, *marked: Any) -> Any:
        if len(marked) == 1 and callable(marked[0]):
            return self._mark(marked[0], ())
        if not all(isinstance(name, str) for name in marked):
            raise TypeError(f"@{self.moment} takes names of pipelines, not {marked!r}")

        def mark(function: Any) -> Any:
            return self._mark(function, marked)

        return mark

    def _mark(self, function: Any, pipelines: tuple[str, ...]) -> Any:
        if inspect.isclass(function) or not callable(function):
            raise TypeError(f"@{self.moment} stands above a function, not above {function!r}")
        setattr(function, _MARKS, (*marks_of(function), Mark(self.moment, pipelines)))
        return function


def marks_of(value: object) -> tuple[Mark, ...]:
    """Return the marks of a hook; none for anything else."""
    # Static: an object of the user's may make up an attribute for every name.
    marks = inspect.getattr_static(value, _MARKS, ())
    return marks if isinstance(marks, tuple) else ()


before_run: Final = HookDecorator[RunStart, None]("before_run")
"""Before each attempt at a run. Raising stops the attempt."""

after_run: Final = HookDecorator[RunEnd, None]("after_run")
"""After each attempt at a run, however it ended."""

before_node: Final = HookDecorator[NodeStart, None]("before_node")
"""Before each node, where the node runs."""

after_node: Final = HookDecorator[NodeEnd, None]("after_node")
"""After each node, where the node runs, however it ended."""

on_success: Final = HookDecorator[RunEnd, None]("on_success")
"""Once per run, when it has succeeded."""

on_failure: Final = HookDecorator[RunEnd, None]("on_failure")
"""Once per run, when it has failed and is not tried again."""

on_message: Final = HookDecorator[Message, dict[str, Any]]("on_message")
"""When a message is to become a run: return inputs for it."""

message_config: Final = HookDecorator[Message, dict[str, Any]]("message_config")
"""When a message is to become a run: return Hamilton configuration for it."""
