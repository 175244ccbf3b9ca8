"""Async pipelines: on the caller's event loop where there is one, else on a loop of their own.

`Project.run_async` runs in a thread of its own, so that hooks, retries and delays are those of `Project.run`; only
the nodes are awaited on the loop of the caller, whose clients and pools they may be given.
"""

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from contextvars import ContextVar
from typing import Any, Final

from hamilton.lifecycle.base import (
    BasePostNodeExecuteAsync,
    BasePreNodeExecuteAsync,
    LifecycleAdapterSet,
)


class RunCancelledError(BaseException):
    """The caller of `run_async` has gone. No pipeline's failure: nothing tries it again."""


class _Caller:
    """The loop that waits for a run, and what of the run is on it now."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._on_loop: Future[Any] | None = None
        self._gone = False

    def wait_for(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        with self._lock:
            if self._gone:
                coroutine.close()
                raise RunCancelledError
            self._on_loop = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return self._on_loop.result()
        except CancelledError:
            raise RunCancelledError from None

    def leave(self) -> None:
        with self._lock:
            self._gone = True
            if self._on_loop is not None:
                self._on_loop.cancel()


_caller: Final[ContextVar[_Caller | None]] = ContextVar("fpbus_caller", default=None)


async def in_own_thread(function: Callable[[], Any]) -> Any:
    """Call a function that blocks; what it awaits by `run_coroutine` runs on this loop.

    Each call has its own thread: many may wait at once, and the loop's shared threads are left to the pipelines.
    """
    caller = _Caller(asyncio.get_running_loop())
    context = contextvars.copy_context()
    context.run(_caller.set, caller)
    result: Future[Any] = Future()
    threading.Thread(target=context.run, args=(_fulfil, result, function), name="pipeline", daemon=True).start()
    try:
        return await asyncio.wrap_future(result)
    finally:
        caller.leave()


def run_coroutine(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine from code that is not async, and return its result."""
    if not _inside_loop():
        caller = _caller.get()
        return caller.wait_for(coroutine) if caller is not None else asyncio.run(coroutine)
    # A notebook's cell, or an async node, runs inside a loop, which cannot be entered again.
    result: Future[Any] = Future()
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(_fulfil, result, lambda: asyncio.run(coroutine)))
    thread.start()
    thread.join()
    return result.result()


def _fulfil(result: Future[Any], function: Callable[[], Any]) -> None:
    if not result.set_running_or_notify_cancel():
        return
    try:
        result.set_result(function())
    except BaseException as error:
        # It belongs to whoever waits, whatever it is.
        result.set_exception(error)


def _inside_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class NodesAwaited(BasePreNodeExecuteAsync, BasePostNodeExecuteAsync):  # type: ignore[misc]  # Hamilton's are Any
    """Calls adapters for nodes when these run.

    Hamilton's async driver would call them when a node is only scheduled, with a task for its result.
    """

    def __init__(self, adapters: list[Any]) -> None:
        self._adapters = LifecycleAdapterSet(*adapters)

    async def pre_node_execute(self, **node: Any) -> None:
        if self._adapters.does_hook("pre_node_execute", is_async=False):
            self._adapters.call_all_lifecycle_hooks_sync("pre_node_execute", **node)

    async def post_node_execute(self, **node: Any) -> None:
        if self._adapters.does_hook("post_node_execute", is_async=False):
            self._adapters.call_all_lifecycle_hooks_sync("post_node_execute", **node)
