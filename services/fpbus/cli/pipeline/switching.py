"""`fpbus pipeline pause` and `resume`: have a pipeline's runs wait, and go on."""

from typing import TYPE_CHECKING

from fpbus.cli.connecting import connected
from fpbus.cli.options import Format, FormatOption, ProjectOption
from fpbus.cli.output import show_data, tell
from fpbus.cli.profiles import ProfileOption
from fpbus.cli.words import counted

from .options import NameArgument

if TYPE_CHECKING:
    from fpbus.schemas import PipelineSwitched


def pause(
    name: NameArgument, style: FormatOption = "table", profile: ProfileOption = None, project: ProjectOption = None
) -> None:
    """Start no more runs of a pipeline. Those that are asked for are accepted and wait."""
    with connected(project, profile) as control:
        _tell(control.pause_pipeline(name), "paused", style)


def resume(
    name: NameArgument, style: FormatOption = "table", profile: ProfileOption = None, project: ProjectOption = None
) -> None:
    """Go on with the runs of a pipeline, in the order in which they were accepted."""
    with connected(project, profile) as control:
        _tell(control.resume_pipeline(name), "running", style)


def _tell(switched: "PipelineSwitched", state: str, style: Format) -> None:
    if style != "table":
        show_data(switched, style)
        return
    already = "" if switched.changed else " already"
    held = f"; {counted(switched.held, 'run waits', 'runs wait')}" if switched.held else ""
    tell(f"{switched.pipeline} is {state}{already}{held}.")
