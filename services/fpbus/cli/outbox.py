"""`fpbus outbox`: runs that were asked for and that nobody has accepted yet."""

from typing import Annotated

import typer

from .connecting import client_settings, connected
from .options import Format, FormatOption, ProjectOption
from .output import Columns, show_list, tell
from .profiles import ProfileOption
from .words import moment

_WAITING: Columns = {
    "RUN": lambda waiting: waiting.run_id,
    "PIPELINE": lambda waiting: waiting.pipeline,
    "BROKER": lambda waiting: waiting.bus,
    "UNTIL": lambda waiting: f"{moment(waiting.until)}{' (over)' if waiting.over else ''}",
}


def outbox(
    send: Annotated[bool, typer.Option("--send", help="Send them now, and drop those whose time is over.")] = False,
    style: FormatOption = "table",
    profile: ProfileOption = None,
    project: ProjectOption = None,
) -> None:
    """List runs that were asked for and that nobody has accepted or rejected yet.

    They are on disk, and are sent again with the next run that is accepted. With --send: exit code 3 when one was
    rejected or dropped, 5 when nobody answers.
    """
    if send:
        _send(project, profile)
    else:
        _list(project, style)


def _list(project: str | None, style: Format) -> None:
    from contextlib import closing

    from fpbus.control import outbox_of

    with closing(outbox_of(client_settings(project), "")) as file:
        waiting = file.waiting()
    show_list(waiting, _WAITING, style, "Nothing waits.")


def _send(project: str | None, profile: str | None) -> None:
    from contextlib import closing

    from fpbus.control import outbox_of
    from fpbus.schemas import FpbusError

    sent = 0
    with closing(outbox_of(client_settings(project), "")) as file:
        dropped = file.drop_over()
    lost = bool(dropped)
    for over in dropped:
        tell(f"Dropped {over.run_id}: nobody accepted it until {moment(over.until)}.")
    with connected(project, profile) as control:
        for waiting, answer in control.send_waiting():
            sent += 1
            rejected = isinstance(answer, FpbusError)
            lost = lost or rejected
            tell(f"{waiting.run_id} was {f'rejected: {answer}' if rejected else 'accepted'}")
    if not sent:
        tell("Nothing waits for this broker.")
    if lost:
        raise typer.Exit(3)
