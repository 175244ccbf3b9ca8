"""`fpbus pipeline explain-trigger` and `show-triggers`: what messages of devices start."""

import contextlib
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fpbus.cli.connecting import connected
from fpbus.cli.inputs import read_bytes, read_pairs
from fpbus.cli.options import FormatOption, ProjectOption
from fpbus.cli.output import Columns, show_list
from fpbus.cli.profiles import ProfileOption

from .options import BaseDirOption, StorageOptionsOption, project_folder

if TYPE_CHECKING:
    from fpbus.schemas import TriggerInfo
    from fpbus.triggers import Refusal, Start, Verdict


def _count(name: str, info: "TriggerInfo") -> str:
    count = info.counts.get(name)
    return "" if count is None else str(count)


_COLUMNS: Final[Columns] = {
    "PIPELINE": lambda told: told["pipeline"],
    "TRIGGER": lambda told: told["trigger"],
    "BECOMES": lambda told: told["becomes"],
    "BECAUSE": lambda told: told["because"],
}
_TRIGGERS: Final[Columns] = {
    "PIPELINE": lambda info: info.pipeline,
    "TRIGGER": lambda info: info.trigger,
    "TOPIC": lambda info: info.topic,
    "WINDOW": lambda info: info.window or "",
    **{
        name.upper(): partial(_count, name)
        for name in ("taken", "runs", "held", "replaced", "discarded", "passed", "rejected")
    },
}


def explain_trigger(  # noqa: PLR0917 (Typer makes options of them)
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="Where a device publishes.")],
    payload: Annotated[str, typer.Argument(metavar="PAYLOAD", help="What it publishes: text, @file, or - for stdin.")],
    content_type: Annotated[str | None, typer.Option(metavar="TYPE", help="The Content Type of MQTT 5.")] = None,
    properties: Annotated[
        list[str] | None, typer.Option("--property", metavar="NAME=VALUE", help="A user property of MQTT 5.")
    ] = None,
    retained: Annotated[bool, typer.Option("--retained", help="The broker had kept it.")] = False,
    style: FormatOption = "table",
    base_dir: BaseDirOption = None,
    storage_options: StorageOptionsOption = None,
) -> None:
    """Say which pipelines a message would start, with which inputs, and why others would not. Nothing is published.

    The exit code is 4 when no trigger listens on the topic.
    """
    from fpbus.project import load_pipelines, load_project
    from fpbus.triggers import Message, ProjectCodecs, TriggerTable

    folder = project_folder(base_dir, storage_options)
    table = TriggerTable(load_pipelines(folder), load_project(folder).limits, ProjectCodecs(folder))
    message = Message(
        topic,
        read_bytes(payload, "PAYLOAD"),
        at=datetime.now(UTC),
        retain=retained,
        content_type=content_type,
        properties=read_pairs(properties or [], "--property"),
    )
    with contextlib.redirect_stdout(sys.stderr):  # what a codec prints is talk
        told = [_tell(verdict, folder) for verdict in table.judge(message)]
    show_list(told, _COLUMNS, style, f"No trigger listens on {topic!r}.")
    if not told:
        raise typer.Exit(4)


def show_triggers(style: FormatOption = "table", profile: ProfileOption = None, project: ProjectOption = None) -> None:
    """List which topics start pipelines, and what became of the messages that came there."""
    with connected(project, profile) as control:
        show_list(control.list_triggers(), _TRIGGERS, style, "No pipeline has triggers.")


def _tell(verdict: "Verdict", folder: Path) -> dict[str, Any]:
    import msgspec

    from fpbus.triggers import Refusal, Start

    told: dict[str, Any] = {"pipeline": verdict.pipeline, "trigger": verdict.trigger}
    if isinstance(verdict, Start):
        verdict = _held_against_contract(verdict, folder)
    if isinstance(verdict, Start):
        request: dict[str, Any] = msgspec.to_builtins(verdict.request)
        request.pop("type")
        return {**told, "becomes": "a run", "because": msgspec.json.encode(request).decode(), "request": request}
    if isinstance(verdict, Refusal):
        field = f" ({verdict.field})" if verdict.field else ""
        return {**told, "becomes": "rejected", "because": f"{verdict.message}{field}", "code": str(verdict.code)}
    return {**told, "becomes": "nothing", "because": verdict.reason}


def _held_against_contract(start: "Start", folder: Path) -> "Start | Refusal":
    """Say what the dispatcher would say of the inputs; of a pipeline that cannot be loaded it knows nothing."""
    from fpbus.dispatcher.contracts import Contract
    from fpbus.dispatcher.devices import field_of_message
    from fpbus.dispatcher.handlers import RefusedError
    from fpbus.pipelines import Project
    from fpbus.pipelines.contract import pipeline_schema
    from fpbus.schemas import FpbusError
    from fpbus.schemas.windows import BatchWindow
    from fpbus.triggers import Refusal

    if isinstance(start.config.window, BatchWindow):
        return start
    try:
        graph = Project.load(folder).graph(start.pipeline)
        schema = pipeline_schema(start.pipeline, graph.driver(), graph.config)
        Contract(schema).check(start.request)
    except RefusedError as refused:
        field = field_of_message(refused.field, start.config)
        return Refusal(start.pipeline, start.trigger, refused.code, str(refused), field)
    except FpbusError:
        pass
    return start
