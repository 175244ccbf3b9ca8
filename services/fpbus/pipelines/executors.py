"""Hamilton's tasks on a pool of ours.

Without `Parallelizable` every node is a task for the pool; with it, what stands between `Parallelizable` and
`Collect` goes there, and the rest stays in the caller's thread, as Hamilton has it.
"""

import contextvars
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from typing import Any, Final

from hamilton.execution.executors import (
    DefaultExecutionManager,
    SynchronousLocalTaskExecutor,
    TaskExecutor,
    base_execute_task,
)
from hamilton.execution.grouping import NodeGroupPurpose
from hamilton.execution.state import TaskState

from .pools import Pool
from .scope import RunScope
from .tasks import Outcome, Plan, pack_task, perform, unpack_outcome

_LOOK_AGAIN_S: Final = 0.05


class PoolManager(DefaultExecutionManager):  # type: ignore[misc]  # Hamilton's classes are Any to us
    """Says which task runs where."""

    def __init__(self, pool_tasks: "PoolTasks | None", *, everything: bool) -> None:
        local = SynchronousLocalTaskExecutor()
        super().__init__(local, pool_tasks or local)
        self._everything = everything

    def get_executor_for_task(self, task: Any) -> Any:
        if self._everything or task.purpose == NodeGroupPurpose.EXECUTE_BLOCK:
            return self.remote_executor
        return self.local_executor


class PoolTasks(TaskExecutor):  # type: ignore[misc]  # as above
    """Runs tasks in the threads of a pool, which is kept from run to run."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._running: dict[_PoolFuture, None] = {}
        self._newest: _PoolFuture | None = None

    def init(self) -> None:
        """Do nothing: the pool is open."""

    def finalize(self) -> None:
        """Wait for what still runs after a failure, so that a next try does not run beside it."""
        # `wait` would wait for ever for what is cancelled before it began.
        wait([running.future for running in self._running if not running.future.cancel()])
        self._running.clear()

    def can_submit_task(self) -> bool:
        return len(self._running) < self._pool.most

    def submit_task(self, task: Any) -> "_PoolFuture":
        self._newest = _PoolFuture(self.start(task), self, lambda future: self.result_of(task, future))
        self._running[self._newest] = None
        return self._newest

    def start(self, task: Any) -> Future[Any]:
        # What logs in a thread of the pool belongs to the run, which is known by its context.
        return self._pool.submit(contextvars.copy_context().run, base_execute_task, task)

    def result_of(self, task: Any, future: Future[Any]) -> Any:  # noqa: ARG002 (ProcessTasks needs it)
        return future.result()

    def pause(self, asking: "_PoolFuture") -> None:
        """Wait a little until a task is done. Hamilton asks without a rest, and asks the newest task last.

        While it has more tasks to give us, there is nothing to wait for.
        """
        if self._newest is None and not any(running.future.done() for running in self._running):
            wait([running.future for running in self._running], _LOOK_AGAIN_S, FIRST_COMPLETED)
        if self._newest is asking:
            self._newest = None

    def forget(self, future: "_PoolFuture") -> None:
        self._running.pop(future, None)


class ProcessTasks(PoolTasks):
    """Runs tasks in other processes, which build the same DAG there: only names and values travel."""

    def __init__(self, pool: Pool, plan: Plan, scope: RunScope, adapters: list[Any]) -> None:
        super().__init__(pool)
        self._plan = plan.pack()
        self._scope = scope
        self._adapters = adapters

    def start(self, task: Any) -> Future[Any]:
        try:
            order = pack_task(task, self._adapters)
        except Exception as error:
            # pickle raises what the values' own classes raise.
            self._scope.failed_node = _last_node(task)
            message = f"What {_last_node(task)!r} is given cannot be sent to another process: {error}"
            raise TypeError(message) from error
        return self._pool.submit(perform, self._plan, order)

    def result_of(self, task: Any, future: Future[Any]) -> Any:
        try:
            outcome: Outcome = unpack_outcome(future.result())
        except Exception as error:
            # The process died, or the value has no meaning here; either way this task is the one.
            if isinstance(error, BrokenExecutor):
                self._pool.forsake()
            self._scope.failed_node = self._scope.failed_node or _last_node(task)
            raise
        for report in outcome.reports:
            self._scope.report(report)
        if outcome.error is not None:
            self._scope.failed_node = self._scope.failed_node or outcome.failed_node
            raise outcome.error
        return outcome.results


class _PoolFuture:
    """A task on its way, as Hamilton asks for it."""

    def __init__(self, future: Future[Any], tasks: PoolTasks, result_of: Callable[[Future[Any]], Any]) -> None:
        self.future = future
        self._tasks = tasks
        self._result_of = result_of
        self._result: Any = None
        self._error: Exception | None = None

    def get_state(self) -> Any:
        self._tasks.pause(self)
        if not self.future.done():
            return TaskState.RUNNING
        self._tasks.forget(self)
        try:
            self._result = self._result_of(self.future)
        except Exception as error:
            # Whatever the node raised; `get_result` is asked for it next.
            self._error = error
            return TaskState.FAILED
        return TaskState.SUCCESSFUL

    def get_result(self) -> Any:
        """Return what `get_state` has found; None while the task runs."""
        if self._error is not None:
            raise self._error
        return self._result


def _last_node(task: Any) -> str:
    return str(task.outputs_to_compute[0] if task.outputs_to_compute else task.nodes[-1].name)
