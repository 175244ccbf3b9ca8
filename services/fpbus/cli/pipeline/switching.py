"""`fpbus pipeline pause` and `resume`: have a pipeline's runs wait, and go on."""

from typing import TYPE_CHECKING, Final

import typer

from fpbus.cli.connecting import connected
from fpbus.cli.options import Format, FormatOption, ProjectOption
from fpbus.cli.output import show_data, tell
from fpbus.cli.profiles import ProfileOption
from fpbus.cli.words import counted

from .options import NameArgument

if TYPE_CHECKING:
    from fpbus.schemas import PipelineSwitched

REFUSED: Final = 3


def pause(
    name: NameArgument, style: FormatOption = "table", profile: ProfileOption = None, project: ProjectOption = None
) -> None:
    """Start no more runs of a pipeline. Those that are asked for are accepted and wait.

    Exit code 3 when it is paused already.
    """
    with connected(project, profile) as control:
        _tell(control.pause_pipeline(name), "paused", style)


def resume(
    name: NameArgument, style: FormatOption = "table", profile: ProfileOption = None, project: ProjectOption = None
) -> None:
    """Go on with the runs of a pipeline, in the order in which they were accepted.

    Exit code 3 when it is not paused.
    """
    with connected(project, profile) as control:
        _tell(control.resume_pipeline(name), "running", style)


def _tell(switched: "PipelineSwitched", state: str, style: Format) -> None:
    if style != "table":
        show_data(switched, style)
    else:
        already = "" if switched.changed else " already"
        held = f"; {counted(switched.held, 'run waits', 'runs wait')}" if switched.held else ""
        tell(f"{switched.pipeline} is {state}{already}{held}.")
    if not switched.changed:
        raise typer.Exit(REFUSED)
