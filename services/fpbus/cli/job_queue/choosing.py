"""How the commands of `fpbus job-queue` are told what they are meant for: one by its id, or all, or some queues."""

import contextlib
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from fpbus.cli.connecting import client_settings, connected
from fpbus.cli.profiles import find_profile, has_redis

if TYPE_CHECKING:
    from fpbus.control import Control
    from fpbus.schemas import CancelledJobs, DeletedJobs

    Sums = TypeVar("Sums", CancelledJobs, DeletedJobs)

AllOption = Annotated[bool, typer.Option("--all", "-a", help="All of them.")]
QueueTypeOption = Annotated[Literal["rq"], typer.Option("--type", help="The job queue.")]


def one_or_all(one: str | None, *, every: bool, narrowed: bool = False) -> None:
    """Refuse a command that names nothing, or two things at once; `narrowed`: to a queue or a pipeline."""
    if one is None and not every and not narrowed:
        raise typer.BadParameter("an id is needed, or --all.", param_hint="ID")
    if one is not None and (every or narrowed):
        raise typer.BadParameter("it is either one id or many.", param_hint="--all")


@contextlib.contextmanager
def queues_of(
    project: str | None, profile: str | None, queue: str | None = None
) -> "Generator[tuple[Control, list[str | None]]]":
    """Connect to the bus that has a profile, and tell which queues are meant there: [None] is all."""
    served = _queues_of_profile(project, profile) if profile is not None else None
    if queue is not None and served is not None and queue not in served:
        raise typer.BadParameter(f"the profile {profile!r} has {', '.join(served)}.", param_hint="--queue-name")
    with connected(project, profile if served is None else None) as control:
        yield control, [queue] if queue or not served else [*served]


def _queues_of_profile(project: str | None, name: str) -> list[str] | None:
    """Return the queues that a profile is; None for one with a Redis of its own."""
    profile = find_profile(client_settings(project), name)
    if has_redis(profile):
        return None
    served = profile.served or []
    return [each.strip() for each in served.split(",")] if isinstance(served, str) else served


def sum_of(answers: "Sequence[Sums]") -> "Sums":
    """Add up what was done queue by queue."""
    import msgspec

    names = [name for name in ("cancelled", "cancelling", "deleted") if hasattr(answers[0], name)]
    sums = {name: sum(getattr(answer, name) for answer in answers) for name in names}
    return msgspec.structs.replace(answers[0], **sums)
