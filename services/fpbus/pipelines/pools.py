"""Where the tasks of a DAG run when not in the caller's thread: threads, processes, Ray, Dask."""

import importlib
import logging
import math
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any, ClassVar, Final, Protocol

import msgspec

from fpbus.schemas import ExecutorConfig

from .modules import PipelineNotLoadableError

_FEW_MORE: Final = 4
_A_FEW_EACH: Final = 2
_CONNECT_S: Final = 10.0


class _Runner(Protocol):
    """Runs functions elsewhere. `most` is how many it should be given at a time."""

    most: int

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]: ...

    def shutdown(self) -> None: ...


class Pool(_Runner, Protocol):
    """The same, as a driver has it."""

    def forsake(self) -> None:
        """Give it to nobody else: one of its processes has died."""


def open_pool(config: ExecutorConfig) -> Pool | None:
    """Open what the configuration names; None for local. Raises `PipelineNotLoadableError` for what cannot be had.

    Processes and clusters are shared by all who ask for the same; the last `shutdown` ends them. Threads are not: a
    node that runs another pipeline would wait for a thread that it occupies.
    """
    if config.type == "threadpool":
        most = config.max_workers or min(32, _cpus() + _FEW_MORE)
        return _LocalPool(ThreadPoolExecutor(most, thread_name_prefix="pipeline"), most)
    return None if config.type in {"local", "synchronous"} else _SharedPool.of(config)


def _open_shared(config: ExecutorConfig) -> _Runner:
    match config.type:
        case "ray":
            return _RayPool(config)
        case "dask":
            return _DaskPool(config)
        case _:
            _may_have_children()
            most = config.max_workers or _cpus()
            # A fork copies the locks of threads that are not copied; a spawned process starts clean.
            return _LocalPool(ProcessPoolExecutor(most, multiprocessing.get_context("spawn")), most)


class _SharedPool:
    """A pool with a count of its users."""

    _lock: ClassVar = threading.Lock()
    _open: ClassVar[dict[object, "_SharedPool"]] = {}

    def __init__(self, key: object, pool: _Runner) -> None:
        self.most = pool.most
        self._key = key
        self._pool = pool
        self._users = 0

    @classmethod
    def of(cls, config: ExecutorConfig) -> "_SharedPool":
        # A process can be connected to one Ray only.
        key = "ray" if config.type == "ray" else msgspec.structs.astuple(config)
        with cls._lock:
            if key not in cls._open:
                cls._open[key] = cls(key, _open_shared(config))
            cls._open[key]._users += 1  # noqa: SLF001 (its own class)
            return cls._open[key]

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        return self._pool.submit(function, *arguments)

    def forsake(self) -> None:
        with self._lock:
            self._leave()

    def shutdown(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users:
                return
            self._leave()
        self._pool.shutdown()

    def _leave(self) -> None:
        if self._open.get(self._key) is self:
            del self._open[self._key]


class _LocalPool:
    def __init__(self, executor: Executor, most: int) -> None:
        self.most = most
        self._executor = executor

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        return self._executor.submit(function, *arguments)

    def shutdown(self) -> None:
        self._executor.shutdown(cancel_futures=True)

    def forsake(self) -> None:
        """Do nothing: nobody else has it."""


class _DaskPool:
    """A cluster of our own, with a process for each worker, or a client of the one at `address`."""

    def __init__(self, config: ExecutorConfig) -> None:
        distributed = _need("distributed", "dask")
        logging.getLogger("distributed").setLevel(logging.WARNING)  # it has its own handler, which says much
        self._cluster: Any = None
        if config.address is None:
            _may_have_children()
            workers = config.max_workers or _cpus()
            self._cluster = _connected(
                "Dask",
                config,
                lambda: distributed.LocalCluster(
                    n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0"
                ),
            )
        place = self._cluster or config.address
        self._client: Any = _connected(
            "Dask", config, lambda: distributed.Client(place, set_as_default=False, timeout=_CONNECT_S)
        )
        self._executor: Any = self._client.get_executor(pure=False)
        self.most = _A_FEW_EACH * max(1, sum(self._client.nthreads().values()))

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        return _begun(self._executor.submit(function, *arguments))

    def shutdown(self) -> None:
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()


class _RayPool:
    """A Ray of our own, or the one at `address`, or the one that this process is connected to already."""

    def __init__(self, config: ExecutorConfig) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # or it tells its makers of each start
        self._ray = _need("ray", "ray")
        self._ours = not self._ray.is_initialized()
        if self._ours:
            _connected("Ray", config, lambda: self._ray.init(**_ray_options(config)))
        self.most = _A_FEW_EACH * max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        return _begun(self._ray.remote(function).remote(*arguments).future())

    def shutdown(self) -> None:
        if self._ours:
            self._ray.shutdown()


def _begun(future: Future[Any]) -> Future[Any]:
    """Mark a task as begun: it may be, and then to cancel it would only leave it alone with its work."""
    future.set_running_or_notify_cancel()
    return future


def _ray_options(config: ExecutorConfig) -> dict[str, Any]:
    options: dict[str, Any] = {"include_dashboard": False, "configure_logging": False}
    if config.address is not None:
        return {"address": config.address, "configure_logging": False}
    return {**options, "num_cpus": math.ceil(config.num_cpus) if config.num_cpus else None}


def _need(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise PipelineNotLoadableError(
            f"The executor {extra!r} needs the package {module!r}, which cannot be imported: {error}.",
            f"Install it: pip install 'fpbus[{extra}]'",
        ) from error


def _connected(what: str, config: ExecutorConfig, connect: Callable[[], Any]) -> Any:
    try:
        return connect()
    except Exception as error:
        # Ray and Dask raise many kinds for what is not there or does not start.
        where = f"at {config.address} cannot be reached" if config.address else "cannot be started"
        hint = "Check run.executor.address." if config.address else None
        raise PipelineNotLoadableError(f"{what} {where}: {type(error).__name__}: {error}", hint) from error


def _may_have_children() -> None:
    """Lift the ban of multiprocessing's daemons on having children; ours end with us, by their pipes."""
    process = multiprocessing.current_process()
    if process.daemon:
        process.daemon = False


def _cpus() -> int:
    return os.cpu_count() or 1
