"""Where Hamilton drivers are built: modules, configuration, executor, cache and adapters come together."""

import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hamilton import base, driver

from fpbus.schemas import PipelineConfig, ProjectConfig, RunConfig

from .modules import PipelineNotLoadableError, import_pipeline
from .nodes import NodeWatcher
from .scope import RunScope


class BuiltDriver:
    """A driver, and what we want to know of its DAG."""

    def __init__(self, dag: driver.Driver, scope: RunScope) -> None:
        self.dag = dag
        self.scope = scope
        nodes = dag.graph.nodes.values()
        self.input_types: dict[str, Any] = {node.name: node.type for node in nodes if node.user_defined}
        self.last_nodes = sorted(node.name for node in nodes if not node.user_defined and not node.depended_on_by)

    def execute(self, final_vars: Sequence[str], inputs: Mapping[str, Any]) -> dict[str, Any]:
        outputs: dict[str, Any] = self.dag.execute(list(final_vars) or self.last_nodes, inputs=dict(inputs))
        return outputs


class Workshop:
    """Builds drivers for one pipeline, which is imported once."""

    def __init__(self, folder: Path, name: str, config: PipelineConfig, project: ProjectConfig) -> None:
        self._folder = folder
        self._name = name
        self._config = config
        self._project = project
        self._module = import_pipeline(folder, name)

    def build(self, run: RunConfig) -> BuiltDriver:
        """Build a driver as `run` asks for; raise `PipelineNotLoadableError` where there is no DAG."""
        scope = RunScope()
        builder = driver.Builder().with_modules(self._module).with_config(dict(run.config))
        try:
            return BuiltDriver(builder.with_adapters(base.DictResult(), NodeWatcher(scope)).build(), scope)
        except Exception as error:
            # Hamilton raises many kinds; each says what is wrong with which function.
            message = f"The pipeline {self._name!r} is no DAG that Hamilton can build: {error}"
            raise PipelineNotLoadableError(message, trace=traceback.format_exc()) from error
