"""`fpbus replay`: run again what a pipeline was asked for."""

import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from .connecting import connected
from .inputs import read_moment
from .options import FormatOption, PipelineNeededOption, PriorityName, ProjectOption
from .output import show_data, show_table, tell
from .profiles import ProfileOption
from .words import counted, moment

if TYPE_CHECKING:
    from fpbus.control import ReplayPage

REJECTED: Final = 3
NOT_FOUND: Final = 4

_EVERY_S: Final = 1.0
_MOST_REASONS: Final = 10


def replay(  # noqa: PLR0917 (Typer makes options of them)
    pipeline: PipelineNeededOption,
    since: Annotated[str, typer.Option(metavar="TIME", help="Accepted then or later: ISO 8601 (UTC), or 2h ago.")],
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Accepted before that.  [default: now]")] = None,
    key: Annotated[str | None, typer.Option(metavar="TEXT", help="Only runs with this key.")] = None,
    again: Annotated[
        str, typer.Option(metavar="NAME", help="Replay once more what was replayed; once under each name.")
    ] = "",
    priority: Annotated[PriorityName, typer.Option(help="Of the new runs.")] = "low",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be created.")] = False,
    style: FormatOption = "table",
    profile: ProfileOption = None,
    project: ProjectOption = None,
) -> None:
    """Run again what a pipeline was asked for in the past, oldest first, as new runs that name the first ones.

    Runs that were replayed before are not replayed again: a replay that was interrupted can be typed again. Exit code 4
    when no run fits, 3 when some were rejected.
    """
    from fpbus.schemas import Priority

    now = datetime.now(UTC)
    between = _utc(since, "--since", now), _utc(until, "--until", now) if until else now
    with connected(project, profile) as control:
        pages = control.replay(pipeline, *between, key=key, name=again, priority=Priority(priority), dry=dry_run)
        counts = _count(pages)
    if not counts.total():
        tell(f"The history has no run of {pipeline} from that time that can be replayed.")
        raise typer.Exit(NOT_FOUND)
    names = ("created", "there", "rejected")
    if style == "table":
        titles = ["WOULD BE CREATED" if dry_run else "CREATED", "ALREADY THERE", "REJECTED"]
        show_table(titles, [[str(counts[name]) for name in names]])
    else:
        show_data({"pipeline": pipeline, "dry_run": dry_run, **{name: counts[name] for name in names}}, style)
    if counts["rejected"]:
        raise typer.Exit(REJECTED)


def _count(pages: "Iterator[ReplayPage]") -> Counter[str]:
    """Count what became of the runs, and say from time to time how far it is."""
    counts: Counter[str] = Counter()
    told_at = time.monotonic()
    for page in pages:
        for run in page.runs:
            counts[run.outcome] += 1
            if run.reason and counts["rejected"] <= _MOST_REASONS:
                tell(f"{run.original}: {run.reason}")
        if time.monotonic() - told_at > _EVERY_S:
            told_at = time.monotonic()
            tell(f"{counted(counts.total(), 'run', 'runs')}, up to {moment(page.at)}")
    return counts


def _utc(text: str, option: str, now: datetime) -> datetime:
    at = read_moment(text, option, now, past=True) or now
    return at if at.tzinfo else at.replace(tzinfo=UTC)
