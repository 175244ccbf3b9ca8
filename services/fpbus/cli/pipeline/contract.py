"""`fpbus pipeline schema`: what a pipeline takes."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fpbus.cli.options import FormatOption, LogLevelOption
from fpbus.cli.output import show_data, show_table, tell

from .options import BaseDirOption, StorageOptionsOption, project_folder
from .talking import talking

if TYPE_CHECKING:
    from fpbus.schemas import PipelineSchema


def schema(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The pipeline.")],
    style: FormatOption = "table",
    base_dir: BaseDirOption = None,
    storage_options: StorageOptionsOption = None,
    _level: LogLevelOption = None,
) -> None:
    """Show what a pipeline takes and gives; with --format json or yaml, as JSON Schema.

    Needs no bus: the pipeline's code is imported, and nothing is run.
    """
    from msgspec import to_builtins

    folder = project_folder(base_dir, storage_options)
    with talking("json"):  # modules may print when they are imported
        found = _read(folder, name)
    if style != "table":
        show_data(to_builtins(found), style)
        return
    needs = [[name, _need(name, found.inputs), _words(part)] for name, part in found.inputs["properties"].items()]
    if needs:
        show_table(["INPUT", "REQUIRED", "TYPE"], needs)
    else:
        tell(f"The pipeline {name!r} takes no inputs.")
    show_table(["OUTPUT", "TYPE"], [[name, _words(part)] for name, part in found.outputs["properties"].items()])


def _read(folder: Path, name: str) -> "PipelineSchema":
    from fpbus.pipelines import Project
    from fpbus.pipelines.contract import pipeline_schema

    graph = Project.load(folder).graph(name)
    return pipeline_schema(name, graph.driver(), graph.config)


def _need(name: str, schema: dict[str, Any]) -> str:
    return "yes" if name in schema["required"] else "no"


def _words(part: dict[str, Any]) -> str:
    """Say a type: its name where it has one, or `anything`, or its schema."""
    if not part:
        return "anything"
    asked = part["anyOf"][0] if len(part.get("anyOf", ())) == 2 and part["anyOf"][1] == {"type": "null"} else part
    if set(asked) == {"title"}:  # a type of Python's
        return str(asked["title"])
    if set(asked) == {"type"} and isinstance(asked["type"], str):
        return asked["type"]
    if "$ref" in asked:
        return str(asked["$ref"]).rpartition("/")[2]
    return json.dumps(asked, separators=(",", ":"))
