"""A pipeline as Hamilton runs it: built once for each configuration, then kept."""

import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from hamilton import base, driver

from fpbus.schemas import PipelineConfig

from .modules import PipelineNotLoadableError, import_pipeline
from .nodes import NodeReport, NodeWatcher

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
    """The drivers of one pipeline, by configuration."""

    def __init__(self, folder: Path, name: str, config: PipelineConfig) -> None:
        self.name = name
        self.config = config
        self._module = import_pipeline(folder, name)
        self._drivers: dict[bytes, _Built] = {}

    def run(
        self,
        inputs: Mapping[str, Any],
        final_vars: Sequence[str],
        config: Mapping[str, Any],
        report: Callable[[NodeReport], None],
    ) -> dict[str, Any]:
        """Compute `final_vars`, or the last nodes of the DAG when there are none named.

        `inputs` win over the pipeline's params. Raises `PipelineFailedError` for what happens inside.
        """
        built = self._built(config)
        built.watcher.watch(report)
        try:
            values = fit({**(self.config.params or {}), **inputs}, built.input_types)
            outputs: dict[str, Any] = built.dag.execute(list(final_vars) or built.last_nodes, inputs=values)
        except Exception as error:
            raise PipelineFailedError(error, built.watcher.failed_node) from error
        return outputs

    def _built(self, config: Mapping[str, Any]) -> "_Built":
        key = msgspec.json.encode(config, order="deterministic")
        if key not in self._drivers:
            if len(self._drivers) >= _KEPT_CONFIGURATIONS:
                self._drivers.pop(next(iter(self._drivers)))
            self._drivers[key] = self._build(config)
        return self._drivers[key]

    def _build(self, config: Mapping[str, Any]) -> "_Built":
        watcher = NodeWatcher()
        builder = driver.Builder().with_modules(self._module).with_config(dict(config))
        try:
            return _Built(builder.with_adapters(base.DictResult(), watcher).build(), watcher)
        except Exception as error:
            # Hamilton raises many kinds; each says what is wrong with which function.
            message = f"The pipeline {self.name!r} is no DAG that Hamilton can build: {error}"
            raise PipelineNotLoadableError(message, trace=traceback.format_exc()) from error


class _Built:
    """A driver, and what we want to know of its DAG."""

    def __init__(self, dag: driver.Driver, watcher: NodeWatcher) -> None:
        self.dag = dag
        self.watcher = watcher
        nodes = dag.graph.nodes.values()
        self.input_types: dict[str, Any] = {node.name: node.type for node in nodes if node.user_defined}
        self.last_nodes = sorted(node.name for node in nodes if not node.user_defined and not node.depended_on_by)


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
