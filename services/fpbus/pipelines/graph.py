"""A pipeline as Hamilton runs it: its drivers are built once for each configuration, then kept."""

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any, Final

import msgspec

from fpbus.schemas import PipelineConfig, ProjectConfig, RunConfig

from .drivers import BuiltDriver
from .faults import input_fault
from .hook_calls import HookFailedError, Hooks, run_end
from .inputs import fit
from .log_level import log_level
from .nodes import NodeReport
from .retries import RetryRule, imported
from .scope import RunFacts, ignore
from .traces import user_trace
from .workshop import Workshop

_KEPT_CONFIGURATIONS: Final = 16

# Its help banner and its own account of every failure would stand in the user's log a second time.
logging.getLogger("hamilton").setLevel(logging.CRITICAL)


class PipelineFailedError(Exception):
    """A node raised, or the inputs do not fit. The cause is the user's exception; `text` says it better, if given."""

    def __init__(self, cause: Exception, node: str | None, text: str | None = None) -> None:
        super().__init__(text or str(cause))
        self.cause = cause
        self.node = node

    @property
    def trace(self) -> str:
        """The traceback with the user's own lines only; empty where none of them was reached."""
        return user_trace(self.cause)


class Graph:
    """The drivers of one pipeline. A driver runs one attempt at a time; those that run side by side have their own."""

    def __init__(self, folder: Path, name: str, config: PipelineConfig, project: ProjectConfig) -> None:
        self.name = name
        self.config = config
        # Before the pipeline's module, which may import its hooks: these must be this project's.
        self.hooks = Hooks.load(folder, project.hooks_dir, name, config.hooks)
        self._workshop = Workshop(folder, name, config, project, self.hooks)
        self.rule = RetryRule.of(config.run, imported)
        self._idle: dict[bytes, list[BuiltDriver]] = {}
        self._usual = _key(config.run)
        given = {**config.params, **config.run.inputs}
        self._nulls = frozenset(name for name, value in given.items() if value is None)

    def attempt(
        self,
        run: RunConfig,
        run_id: str,
        attempt: int,
        report: Callable[[NodeReport], None] = ignore,
        *,
        traceparent: str | None = None,
    ) -> dict[str, Any]:
        """Make one attempt at a run. Computes `run.final_vars`, or the last nodes of the DAG when there are none named.

        Inputs win over the pipeline's params. `traceparent` is the trace that the run belongs to. Raises
        `PipelineFailedError` for what happens inside, and `PipelineNotLoadableError` for what is no DAG.
        """
        facts = RunFacts.of(self.name, run, run_id, attempt, traceparent=traceparent)
        with log_level(run.log_level):
            if not self.hooks.has("before_run", "after_run"):
                return self._compute(facts, run, report)
            return self._compute_between_hooks(facts, run, report)

    def end(  # noqa: PLR0917 (all that is known of an end)
        self,
        run: RunConfig,
        run_id: str,
        attempt: int,
        duration_s: float,
        outputs: dict[str, Any] | None = None,
        error: BaseException | None = None,
        failed_node: str | None = None,
    ) -> None:
        """Tell the hooks that a run has ended for good, after its last attempt. Never raises."""
        moment = "on_failure" if error is not None else "on_success"
        if self.hooks.has(moment):
            facts = RunFacts.of(self.name, run, run_id, attempt)
            getattr(self.hooks, moment)(run_end(facts, duration_s, outputs, error, failed_node))

    def _compute_between_hooks(
        self, facts: RunFacts, run: RunConfig, report: Callable[[NodeReport], None]
    ) -> dict[str, Any]:
        started = time.perf_counter()
        try:
            self._ask_hooks(facts)
            outputs = self._compute(facts, run, report)
        except PipelineFailedError as failed:
            seconds = time.perf_counter() - started
            self.hooks.after_run(run_end(facts, seconds, error=failed.cause, failed_node=failed.node))
            raise
        self.hooks.after_run(run_end(facts, time.perf_counter() - started, outputs))
        return outputs

    def _ask_hooks(self, facts: RunFacts) -> None:
        try:
            self.hooks.before_run(facts)
        except HookFailedError as failed:
            cause = failed.cause if isinstance(failed.cause, Exception) else failed
            raise PipelineFailedError(cause, None, str(failed)) from failed

    def _compute(self, facts: RunFacts, run: RunConfig, report: Callable[[NodeReport], None]) -> dict[str, Any]:
        key = self._usual if run is self.config.run else _key(run)
        built = self._take(key, run)
        usable = True
        values, misfits = fit({**self.config.params, **run.inputs}, built.input_types, built.nullable | self._nulls)
        try:
            built.scope.begin(facts, report)
            if misfits:
                self._check(built, run, values, misfits)
            return built.execute(run.final_vars, values)
        except Exception as error:
            usable = not isinstance(error, BrokenExecutor)
            node = built.scope.failed_node
            text = None if node else self._input_fault(built, run, values, misfits)
            raise PipelineFailedError(error, node, text) from error
        finally:
            if usable:
                self._give_back(key, built)
            else:
                built.close()

    def _check(self, built: BuiltDriver, run: RunConfig, values: Mapping[str, Any], misfits: Mapping[str, str]) -> None:
        """Refuse inputs that do not fit, where the outputs are computed from them."""
        if text := self._input_fault(built, run, values, misfits):
            raise ValueError(text)

    @staticmethod
    def _input_fault(
        built: BuiltDriver, run: RunConfig, values: Mapping[str, Any], misfits: Mapping[str, str]
    ) -> str | None:
        return input_fault(built.dag.graph, run.final_vars or built.last_nodes, values, misfits)

    def close(self) -> None:
        """Shut down what idle drivers keep open. Further attempts build new ones."""
        while self._idle:
            for built in self._idle.popitem()[1]:
                built.close()

    def driver(self, run: RunConfig | None = None) -> BuiltDriver:
        """Return a driver to look at; it is not kept."""
        return self._workshop.build(run or self.config.run)

    def _take(self, key: bytes, run: RunConfig) -> BuiltDriver:
        idle = self._idle.get(key)
        return idle.pop() if idle else self._workshop.build(run)

    def _give_back(self, key: bytes, built: BuiltDriver) -> None:
        if key not in self._idle and len(self._idle) >= _KEPT_CONFIGURATIONS:
            for dropped in self._idle.pop(next(iter(self._idle)), []):
                dropped.close()
        self._idle.setdefault(key, []).append(built)


def _key(run: RunConfig) -> bytes:
    """Return what decides how a driver is built."""
    parts = (run.config, run.cache, run.with_adapter, run.executor, run.additional_modules)
    return msgspec.json.encode(parts, order="deterministic", enc_hook=repr)
