"""`fpbus watch`: what happens, as it happens, whoever asked for it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer

from .connecting import connected
from .options import Format, FormatOption, PipelineOption, ProjectOption, RunIfAny
from .output import show_event, tell, write
from .profiles import ProfileOption
from .words import exit_of, lines_of, say_end, show_outputs

if TYPE_CHECKING:
    from fpbus.control import RunEvent
    from fpbus.schemas import RunResult


def watch(
    run: RunIfAny = None,
    pipeline: PipelineOption = None,
    style: FormatOption = "table",
    profile: ProfileOption = None,
    project: ProjectOption = None,
) -> None:
    """Follow a run, or everything, live.

    A run is followed to its end, everything until Ctrl-C. With a run the exit code is that of the run:
    0 succeeded, 1 failed or dead, 6 cancelled.
    """
    if run is not None and pipeline is not None:
        raise typer.BadParameter("a run has one pipeline already; give either.", param_hint="--pipeline")
    with connected(project, profile) as control:
        if run is not None:
            _to_the_end(control.follow(run), style)
            return
        with control.watch(pipeline=pipeline) as events:
            for event in events:
                _show(event, style, f"{event.pipeline}  {event.run_id}  ")


def _to_the_end(events: "Iterable[RunEvent]", style: Format) -> None:
    from fpbus.schemas import RunResult

    for event in events:
        if isinstance(event, RunResult):
            _show_end(event, style)
            raise exit_of(event)
        _show(event, style, "")


def _show_end(result: "RunResult", style: Format) -> None:
    if style == "table":
        say_end(result, write)
        show_outputs(result.outputs)
    else:
        show_event(result, style)
        say_end(result, tell)


def _show(event: "RunEvent", style: Format, who: str) -> None:
    if style == "table":
        write("\n".join(who + line for line in lines_of(event)))
    else:
        show_event(event, style)
