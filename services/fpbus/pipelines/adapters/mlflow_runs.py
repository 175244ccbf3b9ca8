"""A run of MLflow for each run of a pipeline.

Hamilton's tracker keeps the experiment and stores what data savers wrote. The run itself is ours: Hamilton's fixes its
names when the driver is built, and leaves pickles of outputs in the working directory.
"""

import numbers
import os
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import mlflow
import msgspec
from hamilton.lifecycle import GraphConstructionHook, GraphExecutionHook, NodeExecutionHook
from mlflow.exceptions import MlflowException

from fpbus.pipelines.nodes import summarise
from fpbus.pipelines.scope import RunScope
from fpbus.schemas.adapters import MlflowConfig

from .names import filled
from .reach import reach

with warnings.catch_warnings():  # the plugin switches off all UserWarnings of the process
    from hamilton.plugins.h_mlflow import FIGURE_TYPES, MLFlowTracker

# MLflow writes the address that it is given into the environment; this is what stood there before.
_USUAL_ADDRESS: Final = os.environ.get("MLFLOW_TRACKING_URI")

_FIGURES: Final = tuple(FIGURE_TYPES)


class MlflowRuns(GraphConstructionHook, GraphExecutionHook, NodeExecutionHook):  # type: ignore[misc]  # Hamilton's classes are Any to us
    """Logs inputs as parameters, and outputs as metrics, texts and JSON. What a node logs by itself goes there too."""

    def __init__(self, config: MlflowConfig, scope: RunScope) -> None:
        self._config = config
        self._scope = scope
        self._driver_config: dict[str, Any] = {}
        self._tracker: Any = None
        self._began = False

    def run_after_graph_construction(self, *, config: dict[str, Any], **_: Any) -> None:
        self._driver_config = config

    def run_before_graph_execution(self, *, run_id: str, graph: Any, inputs: Mapping[str, Any], **_: Any) -> None:
        config = self._config
        # MLflow has one address for the process, which autolog and nodes that log by themselves use.
        mlflow.set_tracking_uri(config.tracking_uri or _USUAL_ADDRESS)  # type: ignore[arg-type]  # None: its default
        mlflow.set_registry_uri(config.registry_uri)  # type: ignore[arg-type]  # None: the same
        reach(mlflow.get_tracking_uri(), "MLflow")
        self._tracker = self._made_tracker()
        self._begin({"hamilton_run_id": run_id, "code_version": graph.version})
        self._tracker.graph = graph
        self._log_graph(graph, inputs)

    def _made_tracker(self) -> Any:
        config = self._config
        arguments: dict[str, Any] = {
            "tracking_uri": mlflow.get_tracking_uri(),
            "registry_uri": config.registry_uri,
            "artifact_location": config.artifact_location,
            "experiment_name": self._filled(config.experiment_name or "{pipeline_name}"),
            "experiment_tags": _texts(config.experiment_tags),
            "experiment_description": config.experiment_description,
        }
        try:
            return MLFlowTracker(**arguments)
        except MlflowException:  # another worker has made the experiment between its two steps
            return MLFlowTracker(**arguments)

    def _begin(self, hamiltons: dict[str, str]) -> None:
        config, facts = self._config, self._scope.facts
        ours = {"fpbus.run_id": facts.run_id, "fpbus.pipeline": facts.pipeline, "fpbus.attempt": str(facts.attempt)}
        run = mlflow.start_run(
            run_id=config.run_id,
            experiment_id=None if config.run_id else self._tracker.experiment_id,
            run_name=None if config.run_id else self._filled(config.run_name or "{pipeline_name}"),
            tags={**_texts(config.tags), **_texts(config.run_tags), **ours, **hamiltons},
            description=config.run_description,
        )
        self._began = True
        if config.autolog:
            mlflow.autolog(silent=True)
        self._tracker.run_id = run.info.run_id

    def _log_graph(self, graph: Any, inputs: Mapping[str, Any]) -> None:
        client, number = self._tracker.client, self._tracker.run_id
        client.log_dict(number, self._driver_config, "config.json")
        client.log_dict(number, {node.name: node.as_dict() for node in graph.nodes}, "hamilton_graph.json")
        # A run that is continued keeps the parameters that it has: MLflow lets none be changed.
        known = client.get_run(number).data.params if self._config.run_id else {}
        for name, value in {**self._driver_config, **inputs}.items():
            if name not in known:
                client.log_param(number, name, value)

    def run_before_node_execution(self, **_: Any) -> None:
        """Hamilton wants it; there is nothing to do before a node."""

    def run_after_node_execution(self, *, node_tags: dict[str, Any], success: bool, **node: Any) -> None:
        if success and node_tags.get("hamilton.data_saver") is True:
            self._tracker.run_after_node_execution(node_tags=node_tags, **node)

    def run_after_graph_execution(
        self, *, success: bool, error: Exception | None, results: Mapping[str, Any] | None, **_: Any
    ) -> None:
        for name, value in (results or {}).items():
            self._log_output(name, value)
        if error is not None:
            self._tracker.client.set_tag(self._tracker.run_id, "fpbus.error", f"{type(error).__name__}: {error}")
        self._end("FINISHED" if success else "FAILED")

    def _log_output(self, name: str, value: Any) -> None:
        client, number = self._tracker.client, self._tracker.run_id
        if isinstance(value, numbers.Real):
            client.log_metric(number, name, float(value))
        elif isinstance(value, str):
            client.log_text(number, value, f"{name}.txt")
        elif isinstance(value, _FIGURES):
            client.log_figure(number, value, f"{name}.png")
        else:
            self._log_structure(name, value)

    def _log_structure(self, name: str, value: Any) -> None:
        client, number = self._tracker.client, self._tracker.run_id
        try:
            client.log_text(number, msgspec.json.encode(value).decode(), f"{name}.json")
        except (TypeError, ValueError, OverflowError, RecursionError):  # no JSON, as a DataFrame: its kind and size
            client.set_tag(number, f"output.{name}", summarise(value))

    def abandon(self) -> None:
        """End a run that this adapter was switched off in, so that the next one may begin."""
        self._end("FAILED")

    def _end(self, status: str) -> None:
        if not self._began:
            return
        self._began = False
        try:
            mlflow.end_run(status)
        finally:
            if self._config.autolog:
                mlflow.autolog(disable=True, silent=True)

    def _filled(self, name: str) -> str:
        return filled(name, self._scope.facts, datetime.now(UTC))


def _texts(tags: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in tags.items()}
