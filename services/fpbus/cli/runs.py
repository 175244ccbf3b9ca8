"""`fpbus runs`: the history of runs."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from .connecting import connected
from .group import Commands
from .inputs import make_listing, read_moment
from .options import Format, FormatOption, PipelineOption, ProjectOption, RunArgument, StateName
from .output import Columns, show_data, show_list, tell
from .profiles import ProfileOption
from .run_outputs import hand_out
from .run_record import show_record
from .steering import retry
from .words import duration, moment

if TYPE_CHECKING:
    from fpbus.control import Control

runs = typer.Typer(cls=Commands, no_args_is_help=True, help="Look at past and present runs.")

REFUSED: Final = 3

_RUNS: Columns = {
    "RUN": lambda run: run.run_id,
    "PIPELINE": lambda run: run.pipeline,
    "STATE": lambda run: str(run.state),
    "ATTEMPT": lambda run: str(run.attempt),
    "ACCEPTED": lambda run: moment(run.accepted_at),
    "DURATION": lambda run: duration(run.duration_s),
    "KEY": lambda run: run.key or "",
}

_STATS: Columns = {
    "PIPELINE": lambda stats: stats.pipeline,
    "RUNS": lambda stats: str(stats.runs),
    "SUCCEEDED": lambda stats: str(stats.states.get("succeeded", 0)),
    "FAILED": lambda stats: str(stats.states.get("failed", 0)),
    "CANCELLED": lambda stats: str(stats.states.get("cancelled", 0)),
    "DEAD": lambda stats: str(stats.states.get("dead", 0)),
    "FAILURES": lambda stats: "" if stats.failure_rate is None else f"{stats.failure_rate:.1%}",
    "MEAN": lambda stats: duration(stats.mean_duration_s),
    "P50": lambda stats: duration(stats.p50_s),
    "P95": lambda stats: duration(stats.p95_s),
    "P99": lambda stats: duration(stats.p99_s),
    "LAST ENDED": lambda stats: moment(stats.last_finished_at),
}


@runs.command("list")
def list_(  # noqa: PLR0917 (Typer makes options of them)
    state: Annotated[StateName | None, typer.Option(help="Only runs in this state.")] = None,
    pipeline: PipelineOption = None,
    key: Annotated[str | None, typer.Option(metavar="TEXT", help="Only runs with this key.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Accepted then or later: ISO 8601 (UTC), or 2h ago.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Accepted before that.")] = None,
    schedule: Annotated[str | None, typer.Option(metavar="ID", help="Only runs that this schedule asked for.")] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="RUN", help="Only runs before this one: the next page.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    style: Annotated[
        Literal["table", "json", "jsonl", "yaml"], typer.Option("--format", help="jsonl: each on a line, as they come.")
    ] = "table",
    profile: ProfileOption = None,
    project: ProjectOption = None,
) -> None:
    """List runs, newest first."""
    from fpbus.schemas import RunState

    wanted = make_listing(
        state=RunState(state) if state else None,
        pipeline=pipeline,
        key=key,
        schedule=schedule,
        since=_utc("--since", since),
        until=_utc("--until", until),
        older_than=older_than,
    )
    with connected(project, profile) as control:
        found = control.iterate_runs(wanted, limit)
        if style != "jsonl":
            show_list(list(found), _RUNS, style, "No runs.")
            return
        for run in found:
            show_data(run, "json")


@runs.command()
def show(  # noqa: PLR0917 (Typer makes options of them)
    run: RunArgument,
    output: Annotated[
        str | None, typer.Option("--output", metavar="NAME", help="Print one output only; a table or a file as it is.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE", help="With --output: write it there. A file stays whole.")
    ] = None,
    style: FormatOption = "table",
    profile: ProfileOption = None,
    project: ProjectOption = None,
) -> None:
    """Show one run: what happened when, its inputs, its nodes, its log, its outputs or its error."""
    if save is not None and output is None:
        raise typer.BadParameter("say which output: --output NAME.", param_hint="--save")
    with connected(project, profile) as control:
        record = control.show_run(run)
    if output is not None:
        hand_out(record, output, save, project)
    elif style == "table":
        show_record(record)
    else:
        show_data(record, style)


@runs.command()
def cancel(
    run: RunArgument, style: FormatOption = "table", profile: ProfileOption = None, project: ProjectOption = None
) -> None:
    """Cancel a run that waits, or stop one that is running. Exit code 3 when it has ended already."""
    with connected(project, profile) as control:
        cancel_one(control, run, style)


def cancel_one(control: "Control", run: str, style: Format) -> None:
    """Cancel a run and say what became of it."""
    cancelled = control.cancel(run)
    if style != "table":
        show_data(cancelled, style)
    elif cancelled.cancelling:
        tell(f"Run {run} was {cancelled.state} and is being cancelled.")
    else:
        tell(f"Run {run} is {cancelled.state} already; nothing was changed.")
    if not cancelled.cancelling:
        raise typer.Exit(REFUSED)


@runs.command()
def stats(
    pipeline: PipelineOption = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Ended in that hour or later: ISO 8601 (UTC), or 2h ago.")
    ] = None,
    style: FormatOption = "table",
    profile: ProfileOption = None,
    project: ProjectOption = None,
) -> None:
    """Count runs by pipeline and state, with their durations.

    Percentiles are right to 5 %. FAILURES is the share of failed and dead runs among those that were tried.
    """
    with connected(project, profile) as control:
        show_list(control.stats(pipeline, _utc("--since", since)), _STATS, style, "No runs.")


runs.command()(retry)


def _utc(option: str, text: str | None) -> datetime | None:
    at = read_moment(text, option, datetime.now(UTC), past=True)
    return at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at
