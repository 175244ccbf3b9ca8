"""Where Hamilton drivers are built: modules, configuration, executor, cache and adapters come together."""

import logging
import traceback
from pathlib import Path
from typing import Any

import msgspec
from hamilton import async_driver, driver

from fpbus.schemas import CacheConfig, FpbusError, PipelineConfig, ProjectConfig, RunConfig

from .async_runs import NodesAwaited
from .cache import CacheAdapter, check_names, make_cache
from .drivers import AsyncBuiltDriver, BuiltDriver, has_async, has_parallel
from .executors import PoolManager, PoolTasks, ProcessTasks
from .faults import fault_of, find_cycle
from .hook_calls import Hooks
from .inputs import InputsLookedAt
from .modules import PipelineNotLoadableError, import_additional, import_pipeline
from .nodes import NodeWatcher
from .pools import Pool, open_pool
from .scope import RunScope
from .tasks import Plan

_LOCAL = ("local", "synchronous")

log = logging.getLogger(__name__)


class Workshop:
    """Builds drivers for one pipeline, which is imported once."""

    def __init__(
        self, folder: Path, name: str, config: PipelineConfig, project: ProjectConfig, hooks: Hooks | None = None
    ) -> None:
        self._hooks = hooks or Hooks(name)
        self._folder = folder
        self._name = name
        self._config = config
        self._project = project
        self._module = import_pipeline(folder, name)

    def build(self, run: RunConfig) -> BuiltDriver:
        """Build a driver as `run` asks for; raise `PipelineNotLoadableError` where there is no DAG.

        Async functions need Hamilton's async driver, which knows neither executors nor the cache. `Parallelizable`
        and all executors but local need its dynamic execution, which is slower for each node.
        """
        # Adapters may speak when they are made; a driver that is only looked at makes none.
        bare = msgspec.structs.replace(run, with_adapter={}) if run.with_adapter else run
        plain = self.build_plain(bare)
        is_async, parallel = run.async_driver or has_async(plain.dag), has_parallel(plain.dag)
        if is_async and parallel:
            raise self._unloadable("uses Parallelizable and async functions, which Hamilton cannot run together")
        if is_async:
            return self._build_async(run)
        if parallel or run.executor.type not in _LOCAL:
            return self._build_dynamic(run, parallel=parallel)
        return plain if bare is run else self.build_plain(run)

    def build_plain(self, run: RunConfig) -> BuiltDriver:
        """Build the driver that runs one node after the other, in the caller's thread."""
        scope, cache = RunScope(), self._cache(run)
        built = BuiltDriver(self._built(self._builder(run), self._adapters(run, scope, cache)), scope, cache)
        if isinstance(run.cache, CacheConfig):
            check_names(run.cache, list(built.dag.graph.nodes))
        return built

    def _build_dynamic(self, run: RunConfig, *, parallel: bool) -> BuiltDriver:
        scope, cache, pool = RunScope(), self._cache(run), open_pool(run.executor)
        adapters = self._adapters(run, scope, cache)
        try:
            tasks = self._tasks(run, pool, scope, adapters) if pool is not None else None
            builder = self._builder(run).enable_dynamic_execution(allow_experimental_mode=True)
            builder.with_execution_manager(PoolManager(tasks, everything=not parallel))
            return BuiltDriver(self._built(builder, adapters), scope, cache, pool)
        except BaseException:
            if pool is not None:
                pool.shutdown()
            raise

    def _tasks(self, run: RunConfig, pool: Pool, scope: RunScope, adapters: list[Any]) -> PoolTasks:
        if run.executor.type == "threadpool":
            return PoolTasks(pool)
        # Of a run only what the DAG is built from goes along; inputs go with the tasks that need them.
        there = msgspec.structs.replace(run, inputs={}, with_adapter={})
        plan = Plan(self._folder, self._name, msgspec.structs.replace(self._config, run=there), self._project, there)
        # An adapter that says itself how it is pickled wants to be where the nodes are.
        travelling = [adapter for adapter in adapters if "__getstate__" in vars(type(adapter))]
        return ProcessTasks(pool, plan, scope, travelling)

    def _build_async(self, run: RunConfig) -> BuiltDriver:
        if run.cache:
            log.warning("the pipeline %s is async, so its nodes are not cached", self._name)
        if run.executor.type not in _LOCAL:
            log.warning("the pipeline %s is async, so it runs on one event loop", self._name)
        scope = RunScope()
        adapters = [NodesAwaited([NodeWatcher(scope)]), *self._chosen(run, scope, awaited=True)]
        if (hooks := self._hooks.async_node_adapter(scope)) is not None:
            adapters.append(hooks)
        builder = self._builder(run, async_driver.Builder())
        try:
            dag = builder.with_adapters(*_looking_at_inputs(adapters)).build_without_init()
        except Exception as error:
            # As in `_built`.
            raise self._unloadable(f"is no DAG: {fault_of(error)}", traceback.format_exc()) from error
        return AsyncBuiltDriver(dag, scope)

    def _builder(self, run: RunConfig, builder: Any = None) -> Any:
        builder = builder or driver.Builder()
        more = [import_additional(self._folder, name) for name in run.additional_modules]
        if more:
            builder.allow_module_overrides()
        return builder.with_modules(self._module, *more).with_config(dict(run.config))

    def _built(self, builder: Any, adapters: list[Any]) -> Any:
        try:
            dag = builder.with_adapters(*adapters).build()
        except FpbusError:
            raise
        except Exception as error:
            # Hamilton raises many kinds, decorators raise their own.
            raise self._unloadable(f"is no DAG: {fault_of(error)}", traceback.format_exc()) from error
        if circle := find_cycle(dag.graph.nodes.values()):
            raise self._unloadable(f"is no DAG: its nodes need each other in a circle: {' -> '.join(circle)}")
        return dag

    def _adapters(self, run: RunConfig, scope: RunScope, cache: CacheAdapter | None) -> list[Any]:
        more = [adapter for adapter in (cache, self._hooks.node_adapter(scope)) if adapter is not None]
        return _looking_at_inputs([NodeWatcher(scope, cache), *more, *self._chosen(run, scope)])

    def _chosen(self, run: RunConfig, scope: RunScope, *, awaited: bool = False) -> list[Any]:
        if not run.with_adapter:
            return []
        from .adapters import make_adapters  # late, since few runs have any

        return make_adapters(run, self._config.adapter, scope, self._project.name, awaited=awaited)

    def _cache(self, run: RunConfig) -> CacheAdapter | None:
        if not run.cache:
            return None
        config = run.cache if isinstance(run.cache, CacheConfig) else CacheConfig()
        return make_cache(self._folder, self._name, config, self._project)

    def _unloadable(self, what: str, trace: str | None = None) -> PipelineNotLoadableError:
        return PipelineNotLoadableError(f"The pipeline {self._name!r} {what}.", trace=trace)


def _looking_at_inputs(adapters: list[Any]) -> list[Any]:
    """Add our look at inputs, where no adapter has its own: there may be one."""
    theirs = any(hasattr(adapter, "do_validate_input") for adapter in adapters)
    return adapters if theirs else [*adapters, InputsLookedAt()]
