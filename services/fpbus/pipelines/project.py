"""The Python face of a project: load it, and run its pipelines here and now, without a bus."""

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

from fpbus.project import find_project, load_pipeline, load_project, make_project, pipeline_names
from fpbus.schemas import FpbusError, ProjectConfig, RunConfig, RunSettings

from .async_runs import in_own_thread
from .graph import Graph, PipelineFailedError
from .nodes import NodeReport
from .retries import RetryRule, imported
from .scope import ignore


class SettingsNotUsableError(FpbusError):
    """Settings of a run that do not fit; the sentence names the setting."""

    exit_code = 2


class Project:
    """A project folder. Pipelines are imported at their first run, and kept.

    >>> project = Project.load("weather")           # doctest: +SKIP
    >>> project.run("hello", {"celsius": 25})       # doctest: +SKIP
    {'fahrenheit': 77.0, 'comfort': 'comfortable'}
    """

    def __init__(self, folder: Path, config: ProjectConfig) -> None:
        self.folder = folder
        self.config = config
        self._graphs: dict[str, Graph] = {}

    @classmethod
    def load(cls, folder: str | Path = ".") -> "Project":
        """Find the project at or above `folder`; raise `ProjectError` where there is none."""
        found = find_project(Path(folder).absolute())
        return cls(found, load_project(found))

    @classmethod
    def new(cls, folder: str | Path, name: str | None = None) -> "Project":
        """Make a project in `folder`, with a small pipeline that runs at once; `name` is the folder's by default."""
        target = Path(folder).absolute()
        make_project(target, name or target.name)
        return cls.load(target)

    @property
    def pipelines(self) -> list[str]:
        """The names of all pipelines."""
        return pipeline_names(self.folder)

    def graph(self, name: str) -> Graph:
        """Return a pipeline, imported; raise `UnknownPipelineError` or `PipelineNotLoadableError`."""
        if name not in self._graphs:
            self._graphs[name] = Graph(self.folder, name, load_pipeline(self.folder, name), self.config)
        return self._graphs[name]

    def run(
        self,
        name: str,
        inputs: Mapping[str, Any] | None = None,
        final_vars: Sequence[str] | None = None,
        config: Mapping[str, Any] | None = None,
        *,
        settings: RunSettings | None = None,
        report: Callable[[NodeReport], None] = ignore,
        retrying: Callable[[PipelineFailedError, float], None] | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """Run a pipeline in this process and return its outputs by name.

        What is not given comes from the pipeline's configuration. `settings`, or `RunSettings`' fields as further
        arguments (`max_retries=2`, `executor="threadpool"`), are laid over it; `inputs`, `final_vars` and `config`
        are short for three of them. `report` hears of every node; `retrying` of every failure that is tried again,
        with the seconds until then.

        Raises `PipelineFailedError` for what a node raises in the last try.
        """
        settings = _laid(settings, {"inputs": inputs, "final_vars": final_vars, "config": config, **more})
        graph = self.graph(name)
        run = override(graph.config.run, settings)
        rule = graph.rule if run is graph.config.run else RetryRule.of(run, imported)
        run_id, attempt, started = str(uuid4()), 1, time.perf_counter()
        while True:
            try:
                outputs = graph.attempt(run, run_id, attempt, report)
            except PipelineFailedError as failed:
                chance = random.uniform(-1, 1)  # noqa: S311 (jitter, not a secret)
                delay = rule.delay_after(attempt, failed.cause, chance)
                if delay is None:
                    seconds = time.perf_counter() - started
                    graph.end(run, run_id, attempt, seconds, error=failed.cause, failed_node=failed.node)
                    raise
                if retrying is not None:
                    retrying(failed, delay)
            else:
                graph.end(run, run_id, attempt, time.perf_counter() - started, outputs)
                return outputs
            threading.Event().wait(delay)
            attempt += 1

    def run_message(self, name: str, topic: str, payload: bytes, **named: Any) -> dict[str, Any]:
        """Run a pipeline on a message, as its `on_message` and `message_config` hooks read it.

        What is named, as for `run`, is laid over what they return. Raises `HookFailedError` for what they raise.
        """
        inputs, config = self.graph(name).hooks.message(topic, payload)
        inputs |= named.pop("inputs", None) or {}
        config |= named.pop("config", None) or {}
        return self.run(name, inputs, config=config, **named)

    async def run_async(self, name: str, *arguments: Any, **named: Any) -> dict[str, Any]:
        """Run a pipeline like `run`, without blocking the event loop.

        Async functions are awaited on the caller's loop. Of several calls at once each is a run of its own.
        """
        outputs: dict[str, Any] = await in_own_thread(lambda: self.run(name, *arguments, **named))
        return outputs


def override(run: RunConfig, settings: RunSettings) -> RunConfig:
    """Lay settings over a pipeline's own; raise `SettingsNotUsableError` for what does not fit."""
    try:
        return run.override(settings)
    except msgspec.ValidationError as error:
        raise SettingsNotUsableError(f"These settings cannot be used: {error}.") from None


def _laid(settings: RunSettings | None, named: Mapping[str, Any]) -> RunSettings:
    """Lay what is named over the settings. Inputs may be any Python object, and are left alone."""
    changes = {name: value for name, value in named.items() if value is not None}
    inputs = changes.pop("inputs", None)
    try:
        above = msgspec.convert(changes, RunSettings)
    except msgspec.ValidationError as error:
        raise SettingsNotUsableError(f"These settings cannot be used: {error}.") from None
    taken = {name: getattr(above, name) for name in changes}
    below = settings or RunSettings()
    return msgspec.structs.replace(below, **taken, **({"inputs": dict(inputs)} if inputs is not None else {}))
