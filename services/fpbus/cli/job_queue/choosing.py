"""How the commands of `fpbus job-queue` are told what they are meant for: one by its id, or all."""

from typing import Annotated, Literal

import typer

AllOption = Annotated[bool, typer.Option("--all", "-a", help="All of them.")]
QueueTypeOption = Annotated[Literal["rq"], typer.Option("--type", help="The job queue.")]


def one_or_all(one: str | None, *, every: bool, narrowed: bool = False) -> None:
    """Refuse a command that names nothing, or two things at once; `narrowed`: to a queue or a pipeline."""
    if one is None and not every and not narrowed:
        raise typer.BadParameter("an id is needed, or --all.", param_hint="ID")
    if one is not None and (every or narrowed):
        raise typer.BadParameter("it is either one id or many.", param_hint="--all")
