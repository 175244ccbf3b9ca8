"""`fpbus job-queue show-schedules`, `pause-schedule` and their like."""

from typing import TYPE_CHECKING, Annotated, Final

import typer

from fpbus.cli.connecting import connected
from fpbus.cli.options import Format, FormatOption, PipelineOption, ProjectOption
from fpbus.cli.output import Columns, show_data, show_list, tell, write
from fpbus.cli.profiles import ProfileOption
from fpbus.cli.words import moment

from .choosing import AllOption, QueueTypeOption, one_or_all

if TYPE_CHECKING:
    from fpbus.schemas import ChangedSchedules

REFUSED: Final = 3
NOTHING_DONE: Final = 4

_SCHEDULES: Final[Columns] = {
    "SCHEDULE": lambda schedule: schedule.id,
    "PIPELINE": lambda schedule: schedule.pipeline,
    "WHEN": lambda schedule: f"{schedule.trigger}, {schedule.timezone}",
    "STATE": lambda schedule: "paused" if schedule.paused else "active",
    "NEXT": lambda schedule: moment(schedule.next_due),
    "LAST": lambda schedule: moment(schedule.last_fired),
    "FROM": lambda schedule: {"yaml": "file", "call": "command"}[schedule.origin],
    "TROUBLE": lambda schedule: schedule.last_error or "",
}

ScheduleArgument = Annotated[str | None, typer.Argument(metavar="ID", help="The id of a schedule.")]


def show_schedules(
    pipeline: PipelineOption = None,
    style: FormatOption = "table",
    _type: QueueTypeOption = "rq",
    profile: ProfileOption = None,
    project: ProjectOption = None,
) -> None:
    """List the stored schedules, and when each is due next."""
    from fpbus.schemas import ListSchedules

    with connected(project, profile) as control:
        show_list(control.schedules(ListSchedules(pipeline=pipeline)), _SCHEDULES, style, "No schedules.")


def show_schedule_ids(
    _type: QueueTypeOption = "rq", profile: ProfileOption = None, project: ProjectOption = None
) -> None:
    """Print the ids of the stored schedules, one on a line."""
    with connected(project, profile) as control:
        for schedule in control.schedules():
            write(schedule.id)


def pause_schedule(
    schedule: ScheduleArgument = None,
    every: AllOption = False,
    style: FormatOption = "table",
    _type: QueueTypeOption = "rq",
    profile: ProfileOption = None,
    project: ProjectOption = None,
) -> None:
    """Let a schedule start nothing until it is resumed.

    Exit codes: 3 it is paused already, 4 there is none.
    """
    one_or_all(schedule, every=every)
    with connected(project, profile) as control:
        _tell(control.pause_schedule(schedule), "paused", style)


def resume_schedule(
    schedule: ScheduleArgument = None,
    every: AllOption = False,
    style: FormatOption = "table",
    _type: QueueTypeOption = "rq",
    profile: ProfileOption = None,
    project: ProjectOption = None,
) -> None:
    """Go on with a schedule, from now on.

    Exit codes: 3 it is active already, 4 there is none.
    """
    one_or_all(schedule, every=every)
    with connected(project, profile) as control:
        _tell(control.resume_schedule(schedule), "active", style)


def delete_schedule(
    schedule: ScheduleArgument = None,
    every: AllOption = False,
    style: FormatOption = "table",
    _type: QueueTypeOption = "rq",
    profile: ProfileOption = None,
    project: ProjectOption = None,
) -> None:
    """Forget a schedule. One of a pipeline's file comes back with `fpbus pipeline schedule-all`.

    Exit code 4 when there is none.
    """
    one_or_all(schedule, every=every)
    with connected(project, profile) as control:
        _tell(control.remove_schedule(schedule), "deleted", style)


def _tell(changed: "ChangedSchedules", state: str, style: Format) -> None:
    if style != "table":
        show_data(changed, style)
    else:
        for each in changed.changed:
            tell(f"{each} is {state}.")
        for each in changed.unchanged:
            tell(f"{each} is {state} already.")
    if not changed.changed and not changed.unchanged:
        tell("There are no schedules.")
        raise typer.Exit(NOTHING_DONE)
    if not changed.changed:
        raise typer.Exit(REFUSED)
