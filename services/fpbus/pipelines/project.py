"""The Python face of a project: load it, and run its pipelines here and now, without a bus."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fpbus.project import find_project, load_pipeline, load_project, pipeline_names
from fpbus.schemas import ProjectConfig, RunConfig

from .graph import Graph
from .nodes import NodeReport


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

    @property
    def pipelines(self) -> list[str]:
        """The names of all pipelines."""
        return pipeline_names(self.folder)

    def graph(self, name: str) -> Graph:
        """Return a pipeline, imported; raise `UnknownPipelineError` or `PipelineNotLoadableError`."""
        if name not in self._graphs:
            self._graphs[name] = Graph(self.folder, name, load_pipeline(self.folder, name))
        return self._graphs[name]

    def run(
        self,
        name: str,
        inputs: Mapping[str, Any] | None = None,
        final_vars: Sequence[str] | None = None,
        config: Mapping[str, Any] | None = None,
        report: Callable[[NodeReport], None] | None = None,
    ) -> dict[str, Any]:
        """Run a pipeline in this process and return its outputs by name.

        What is not given comes from the pipeline's configuration; given inputs and configuration are laid
        over it key by key. Raises `PipelineFailedError` for what a node raises.
        """
        graph = self.graph(name)
        defaults = graph.config.run or RunConfig()
        return graph.run(
            {**(defaults.inputs or {}), **(inputs or {})},
            final_vars or defaults.final_vars or (),
            {**(defaults.config or {}), **(config or {})},
            report or _ignore,
        )


def _ignore(_report: NodeReport) -> None:
    """Stand in when nobody wants to hear of nodes."""
