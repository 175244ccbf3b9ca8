"""`fpbus asyncapi`: the whole bus as one document."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from .options import LogLevelOption
from .output import show_data, tell, text_of, write
from .pipeline.options import BaseDirOption, StorageOptionsOption, project_folder
from .pipeline.talking import talking
from .settings import settings_of

if TYPE_CHECKING:
    from fpbus.lifecycle import Settings
    from fpbus.schemas import PipelineSchema

_INCOMPLETE: Final = 8


def asyncapi(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it there.  [default: print it]")
    ] = None,
    style: Annotated[Literal["json", "yaml"], typer.Option("--format", help="How to write it.")] = "json",
    base_dir: BaseDirOption = None,
    storage_options: StorageOptionsOption = None,
    _level: LogLevelOption = None,
) -> None:
    """Write the AsyncAPI document of the bus: topics, messages, what each pipeline takes, what devices say.

    Needs no bus: the pipelines' code is imported, and nothing is run. Of a pipeline that cannot be loaded it does not
    say what its inputs are, and the exit code is 8.
    """
    from importlib.metadata import version

    from fpbus.project import load_pipelines
    from fpbus.schemas.asyncapi import asyncapi as document_of

    folder = project_folder(base_dir, storage_options)
    with talking("json"):  # modules may print when they are imported
        schemas, faults = _schemas(folder)
    settings = settings_of(str(folder))
    pipelines = load_pipelines(folder)
    document = document_of(pipelines, schemas, settings.root, version("fpbus"), _server(settings))
    if output is None:
        show_data(document, style)
    else:
        output.write_text(text_of(document, style) + "\n", encoding="utf-8")
        write(str(output))
    for fault in faults:
        tell(fault)
    if faults:
        raise typer.Exit(_INCOMPLETE)


def _schemas(folder: Path) -> "tuple[dict[str, PipelineSchema], list[str]]":
    from fpbus.pipelines import Project
    from fpbus.pipelines.contract import pipeline_schema
    from fpbus.project import load_pipelines
    from fpbus.schemas import FpbusError

    project, found, faults = Project.load(folder), dict[str, "PipelineSchema"](), list[str]()
    for name in sorted(load_pipelines(folder)):
        try:
            graph = project.graph(name)
            found[name] = pipeline_schema(name, graph.driver(), graph.config)
        except FpbusError as error:
            faults.append(str(error))
    return found, faults


def _server(settings: "Settings") -> tuple[str, str] | None:
    """Return where the broker is, without any secret, and how it is spoken to."""
    from fpbus.bus import BrokerAddress

    if not settings.mqtt_url:
        return None
    address = BrokerAddress.parse(settings.mqtt_url)
    protocol = ("wss" if address.tls else "ws") if address.websockets else ("mqtts" if address.tls else "mqtt")
    return f"{address.host}:{address.port}", protocol
