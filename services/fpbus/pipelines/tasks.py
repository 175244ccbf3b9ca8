"""One task of a DAG in another process: what goes there, what is done there, and what comes back.

The process imports the pipeline and builds its DAG once, and keeps it. Nothing of the DAG travels: its nodes are
linked to each other without end, and half of what Hamilton makes of decorators cannot be pickled.
"""

import functools
import importlib
import pickle
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hamilton.execution.executors import base_execute_task
from hamilton.execution.grouping import NodeGroupPurpose, TaskImplementation
from hamilton.lifecycle.base import LifecycleAdapterSet

from fpbus.schemas import PipelineConfig, ProjectConfig, RunConfig

from .nodes import NodeReport, NodeWatcher
from .scope import RunScope
from .traces import REMOTE_TRACE, user_trace

if TYPE_CHECKING:
    from .drivers import BuiltDriver


@dataclass(frozen=True)
class Plan:
    """What a DAG is built from."""

    folder: Path
    pipeline: str
    config: PipelineConfig
    project: ProjectConfig
    run: RunConfig

    def pack(self) -> bytes:
        return pickle.dumps(self)


@dataclass(frozen=True)
class Task:
    """A task by the names of its nodes. `adapters` are the users' own that said how to be pickled."""

    run_id: str
    base_id: str
    group_id: str | None
    spawning_task_id: str | None
    purpose: NodeGroupPurpose
    nodes: list[str]
    outputs: list[str]
    inputs: Mapping[str, Any]
    overrides: Mapping[str, Any]
    adapters: list[Any]


@dataclass
class Outcome:
    """What a task has brought, and what happened on its way. Of `results` and `error` one is None."""

    results: dict[str, Any] | None = None
    error: Exception | None = None
    failed_node: str | None = None
    reports: list[NodeReport] = field(default_factory=list)


def pack_task(task: Any, adapters: list[Any]) -> bytes:
    """Pack one of Hamilton's tasks; raise what pickle raises for values that cannot travel."""
    return _dumps(
        Task(
            run_id=task.run_id,
            base_id=task.base_id,
            group_id=task.group_id,
            spawning_task_id=task.spawning_task_id,
            purpose=task.purpose,
            nodes=[node.name for node in task.nodes],
            outputs=list(task.outputs_to_compute),
            inputs=task.dynamic_inputs,
            overrides=task.overrides,
            adapters=adapters,
        )
    )


def unpack_outcome(packed: bytes) -> Outcome:
    outcome: Outcome = pickle.loads(packed)  # noqa: S301 (from a process that we have started)
    return outcome


def perform(plan: bytes, packed: bytes) -> bytes:
    """Do a task in this process, and return its packed outcome. Only what is no task raises here."""
    built = _built(plan)  # before the values, whose classes may be the pipeline's own
    task: Task = pickle.loads(packed)  # noqa: S301 (from the process that has started us)
    scope, outcome = RunScope(), Outcome()
    scope.report = outcome.reports.append
    try:
        outcome.results = base_execute_task(_revived(task, built, scope))
    except Exception as error:
        # The user's; it travels back as it is, and its traceback as text.
        error.__dict__[REMOTE_TRACE] = user_trace(error)
        outcome.error = error
        outcome.failed_node = scope.failed_node
    return _pack_outcome(outcome, task)


def _revived(task: Task, built: "BuiltDriver", scope: RunScope) -> Any:
    """Return the task as Hamilton knows it, with this process' nodes."""
    nodes = [built.dag.graph.nodes[name] for name in task.nodes]
    caching = [built.cache] if built.cache is not None else []
    if built.cache is not None:
        built.cache.join_run(task.run_id, built.dag.graph)
    return TaskImplementation(
        base_id=task.base_id,
        spawning_task_base_id=None,
        nodes=nodes,
        purpose=task.purpose,
        outputs_to_compute=task.outputs,
        overrides=dict(task.overrides),
        adapter=LifecycleAdapterSet(NodeWatcher(scope, built.cache), *caching, *task.adapters),
        base_dependencies=[],
        group_id=task.group_id,
        realized_dependencies={},
        spawning_task_id=task.spawning_task_id,
        dynamic_inputs=dict(task.inputs),
        run_id=task.run_id,
    )


def _pack_outcome(outcome: Outcome, task: Task) -> bytes:
    try:
        packed = _dumps(outcome)
        if outcome.error is not None:
            pickle.loads(packed)  # noqa: S301 (our own) many exceptions can be packed, but not unpacked
    except Exception as error:
        # As in `pack_task`: what the values' own classes raise.
        outcome.failed_node = outcome.failed_node or task.outputs[0]
        outcome.error = _stand_in(outcome.error) if outcome.error else _not_sendable(outcome.failed_node, error)
        outcome.results = None
        packed = _dumps(outcome)
    return packed


def _stand_in(error: Exception) -> Exception:
    """Return an exception that can travel for one that cannot. Its class has the same name, for retries."""
    names = [kind.__name__ for kind in type(error).__mro__ if kind not in {Exception, BaseException, object}]
    stand_in = LostError(names[0], str(error))
    stand_in.__dict__[REMOTE_TRACE] = user_trace(error)
    return stand_in


def _not_sendable(node: str, error: Exception) -> Exception:
    return TypeError(f"What {node!r} returns cannot be sent from another process: {error}")


class LostError(Exception):
    """Stands for an exception of another process that cannot be pickled."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind, message)

    def __str__(self) -> str:
        return f"{self.args[0]}: {self.args[1]}"


@functools.lru_cache(maxsize=8)
def _driver(plan: bytes, _thread: int) -> "BuiltDriver":
    """Build the DAG, once for each thread: a worker of Dask may have several."""
    from .workshop import Workshop  # which imports this file

    this: Plan = pickle.loads(plan)  # noqa: S301 (from the process that has started us)
    return Workshop(this.folder, this.pipeline, this.config, this.project).build_plain(this.run)


def _built(plan: bytes) -> "BuiltDriver":
    return _driver(plan, threading.get_ident())


def _dumps(value: Any) -> bytes:
    """Pickle; with cloudpickle, which Ray and Dask bring along, lambdas and classes of a notebook travel as well."""
    try:
        return pickle.dumps(value)
    except Exception:
        # Whatever the values raise: cloudpickle may know better, and raises again when it does not.
        try:
            cloudpickle = importlib.import_module("cloudpickle")
        except ImportError:
            cloudpickle = None
        if cloudpickle is None:
            raise
    packed: bytes = cloudpickle.dumps(value)
    return packed
