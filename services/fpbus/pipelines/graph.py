"""A pipeline as Hamilton runs it: its drivers are built once for each configuration, then kept."""

import logging
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from fpbus.schemas import PipelineConfig, ProjectConfig, RunConfig

from .nodes import NodeReport
from .retries import RetryRule, imported
from .scope import RunFacts, ignore
from .workshop import BuiltDriver, Workshop

_KEPT_CONFIGURATIONS: Final = 16

# Its help banner and its own account of every failure would stand in the user's log a second time.
logging.getLogger("hamilton").setLevel(logging.CRITICAL)


class PipelineFailedError(Exception):
    """A node raised, or the inputs do not fit. The cause is the user's exception."""

    def __init__(self, cause: Exception, node: str | None) -> None:
        super().__init__(str(cause) if node else _plain(str(cause)))
        self.cause = cause
        self.node = node

    @property
    def trace(self) -> str:
        """The traceback with the user's own lines only; empty where none of them was reached."""
        frames = traceback.extract_tb(self.cause.__traceback__)
        users = [frame for frame in frames if "/hamilton/" not in frame.filename and "/fpbus/" not in frame.filename]
        if not users:
            return ""
        lines, last = traceback.format_list(users), traceback.format_exception_only(self.cause)
        return "".join(["Traceback (most recent call last):\n", *lines, *last])


def _plain(sentence: str) -> str:
    """Take off the frame that Hamilton puts around what is wrong with the inputs."""
    lines = [line.strip().removeprefix("Error: ") for line in sentence.splitlines()]
    return " ".join(line for line in lines if line and not line.endswith("errors encountered:"))


class Graph:
    """The drivers of one pipeline. A driver runs one attempt at a time; those that run side by side have their own."""

    def __init__(self, folder: Path, name: str, config: PipelineConfig, project: ProjectConfig) -> None:
        self.name = name
        self.config = config
        self.rule = RetryRule.of(config.run, imported)
        self._workshop = Workshop(folder, name, config, project)
        self._idle: dict[bytes, list[BuiltDriver]] = {}
        self._usual = _key(config.run)

    def attempt(
        self, run: RunConfig, run_id: str, attempt: int, report: Callable[[NodeReport], None] = ignore
    ) -> dict[str, Any]:
        """Make one attempt at a run. Computes `run.final_vars`, or the last nodes of the DAG when there are none named.

        Inputs win over the pipeline's params. Raises `PipelineFailedError` for what happens inside, and
        `PipelineNotLoadableError` for what is no DAG.
        """
        key = self._usual if run is self.config.run else _key(run)
        built = self._take(key, run)
        try:
            built.scope.begin(RunFacts.of(self.name, run, run_id, attempt), report)
            values = fit({**self.config.params, **run.inputs}, built.input_types)
            return built.execute(run.final_vars, values)
        except Exception as error:
            raise PipelineFailedError(error, built.scope.failed_node) from error
        finally:
            self._give_back(key, built)

    def driver(self, run: RunConfig | None = None) -> BuiltDriver:
        """Return a driver to look at; it is not kept."""
        return self._workshop.build(run or self.config.run)

    def _take(self, key: bytes, run: RunConfig) -> BuiltDriver:
        idle = self._idle.get(key)
        return idle.pop() if idle else self._workshop.build(run)

    def _give_back(self, key: bytes, built: BuiltDriver) -> None:
        if key not in self._idle and len(self._idle) >= _KEPT_CONFIGURATIONS:
            self._idle.pop(next(iter(self._idle)), None)
        self._idle.setdefault(key, []).append(built)


def _key(run: RunConfig) -> bytes:
    """Return what decides how a driver is built."""
    parts = (run.config, run.cache, run.with_adapter, run.executor, run.additional_modules)
    return msgspec.json.encode(parts, order="deterministic", enc_hook=repr)


def fit(values: Mapping[str, Any], types: Mapping[str, Any]) -> dict[str, Any]:
    """Turn what JSON can say into what the functions ask for: 25 into a float, text into a datetime.

    A value that does not fit is left as it is: Hamilton then says which input it is and what it should be.
    """
    return {name: _fit(value, types.get(name)) for name, value in values.items()}


def _fit(value: Any, kind: Any) -> Any:
    if kind is None or type(value) is kind:
        return value
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, TypeError):  # TypeError: a type that msgspec does not know, as a DataFrame
        return value
