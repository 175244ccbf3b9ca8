"""`fpbus pipeline schema`: what a pipeline takes."""

from pathlib import Path
from typing import Annotated, Any

import typer

from fpbus.cli.options import FormatOption, LogLevelOption
from fpbus.cli.output import show_data, show_table, tell

from .options import BaseDirOption, StorageOptionsOption, project_folder
from .talking import talking


def schema(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The pipeline.")],
    style: FormatOption = "table",
    base_dir: BaseDirOption = None,
    storage_options: StorageOptionsOption = None,
    _level: LogLevelOption = None,
) -> None:
    """Show the inputs of a pipeline; with --format json or yaml, as JSON Schema.

    Needs no bus: the pipeline's code is imported, and nothing is run.
    """
    folder = project_folder(base_dir, storage_options)
    with talking("json"):  # modules may print when they are imported
        found = _read(folder, name)
    if style != "table":
        show_data(found, style)
    elif found["properties"]:
        rows = [[input_, _need(input_, found), _words(part)] for input_, part in found["properties"].items()]
        show_table(["INPUT", "REQUIRED", "TYPE"], rows)
    else:
        tell(f"The pipeline {name!r} takes no inputs.")


def _read(folder: Path, name: str) -> dict[str, Any]:
    from fpbus.pipelines import Project
    from fpbus.pipelines.contract import inputs_schema

    graph = Project.load(folder).graph(name)
    return inputs_schema(graph.driver(), graph.config)


def _need(name: str, schema: dict[str, Any]) -> str:
    return "yes" if name in schema["required"] else "no"


def _words(part: dict[str, Any]) -> str:
    """Say the type that the functions ask for; the second alternative is what a run lets pass besides."""
    import msgspec

    if not part:
        return "anything"
    asked = part["anyOf"][0]
    if set(asked) == {"type"} and isinstance(asked["type"], str):
        return asked["type"]
    if "$ref" in asked:
        return str(asked["$ref"]).rpartition("/")[2]
    return msgspec.json.encode(asked).decode()
