"""`fpbus pipeline schedule`, `schedule-all` and `explain-schedule`: runs at set times."""

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fpbus.cli.connecting import connected
from fpbus.cli.inputs import make_schedule, read_kind, read_object
from fpbus.cli.options import FormatOption, PriorityName, ProjectOption
from fpbus.cli.output import Columns, show_data, show_list, tell, write
from fpbus.cli.profiles import ProfileOption
from fpbus.cli.run_options import (
    AdapterOption,
    CacheOption,
    ConfigOption,
    DelayOption,
    ExecutorOption,
    FinalVarsOption,
    InputOption,
    InputsOption,
    JitterOption,
    RetriesOption,
    RunLogLevelOption,
    settings_of_run,
)
from fpbus.cli.words import moment

from .options import NameArgument

if TYPE_CHECKING:
    from fpbus.schemas import Explained

REFUSED: Final = 3
NOTHING_DONE: Final = 4

_FIRES: Final[Columns] = {
    "LOCAL": lambda fire: fire.local.isoformat(sep=" "),
    "UTC": lambda fire: moment(fire.utc),
    "NOTE": lambda fire: "; ".join(fire.notes),
}


def schedule(  # noqa: PLR0917 (Typer makes options of them)
    name: NameArgument,
    cron: Annotated[
        str | None, typer.Option(metavar="CRON|JSON", help='As in crontab: "0 5 * * 1-5"; or {"hour": 5}.')
    ] = None,
    interval: Annotated[str | None, typer.Option(metavar="SPAN|JSON", help='1h30m, 1d6h; or {"hours": 1}.')] = None,
    date: Annotated[str | None, typer.Option(metavar="TIME", help="Once, then: ISO 8601.")] = None,
    timezone: Annotated[
        str | None, typer.Option("--timezone", "--tz", metavar="ZONE", help="Such as Europe/Berlin.")
    ] = None,
    start: Annotated[str | None, typer.Option(metavar="TIME", help="Nothing is due before.")] = None,
    end: Annotated[str | None, typer.Option(metavar="TIME", help="Nothing is due after.")] = None,
    jitter: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Start up to so much later.")] = 0,
    misfire: Annotated[
        str, typer.Option(metavar="all|last|none", help="What becomes of times that nobody was there for.")
    ] = "last",
    input_: InputOption = None,
    inputs: InputsOption = None,
    final_vars: FinalVarsOption = None,
    config: ConfigOption = None,
    cache: CacheOption = None,
    executor: ExecutorOption = None,
    with_adapter: AdapterOption = None,
    max_retries: RetriesOption = None,
    retry_delay: DelayOption = None,
    jitter_factor: JitterOption = None,
    log_level: RunLogLevelOption = None,
    key: Annotated[str | None, typer.Option(metavar="TEXT", help="What the runs are about, say a device.")] = None,
    priority: Annotated[PriorityName | None, typer.Option(help="The queue to wait in.")] = None,
    schedule_id: Annotated[
        str | None, typer.Option("--schedule-id", metavar="ID", help="Its name.  [default: of pipeline and trigger]")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a schedule of the same id.")] = False,
    style: FormatOption = "table",
    profile: ProfileOption = None,
    project: ProjectOption = None,
) -> None:
    """Run a pipeline at set times.

    Without --cron, --interval and --date the schedule is the one of the pipeline's file. Prints the schedule's id.
    Exit codes: 3 it cannot be used, or the id is taken; 4 no such pipeline; 5 no scheduler there.
    """
    settings = settings_of_run(
        input_,
        inputs,
        final_vars,
        config,
        cache,
        executor,
        with_adapter,
        max_retries,
        retry_delay,
        jitter_factor,
        log_level,
    )
    wanted = make_schedule(
        pipeline=name,
        cron=_parts(cron, "--cron"),
        interval=_parts(interval, "--interval"),
        date=date,
        timezone=timezone,
        start=start,
        end=end,
        jitter_s=jitter,
        misfire=misfire,
        id=schedule_id,
        settings=settings,
        key=key,
        priority=priority,
        overwrite=overwrite,
    )
    with connected(project, profile) as control:
        stored = control.schedule(wanted)
    if style != "table":
        show_data(stored, style)
        return
    write(stored.schedule.id)
    due = stored.schedule.next_due
    tell(f"{'Replaced' if stored.replaced else 'Stored'}: {stored.schedule.trigger}, next at {moment(due)}.")


def schedule_all(
    executor: ExecutorOption = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also replace what `pipeline schedule` stored under the same id.")
    ] = False,
    style: FormatOption = "table",
    profile: ProfileOption = None,
    project: ProjectOption = None,
) -> None:
    """Make the schedules in the pipelines' files the active ones, and print what that changed.

    A schedule that has left its file is removed. Exit codes: 3 there are conflicts, 4 no file has a schedule.
    """
    with connected(project, profile) as control:
        report = control.schedule_all(read_kind(executor, "--executor"), overwrite=overwrite)
    lists = {name: getattr(report, name) for name in ("added", "changed", "removed", "unchanged", "conflicts")}
    if style != "table":
        show_data(report, style)
    else:
        for name, ids in lists.items():
            for each in ids:
                write(f"{name:<9} {each}")
    if report.conflicts:
        tell("Conflicts were left alone: schedules of a call have their ids. Replace them with --overwrite.")
        raise typer.Exit(REFUSED)
    if not any(lists.values()):
        tell("No pipeline has a schedule in its file.")
        raise typer.Exit(NOTHING_DONE)


def explain_schedule(  # noqa: PLR0917 (Typer makes options of them)
    what: Annotated[str, typer.Argument(metavar="NAME|EXPRESSION", help='A schedule, a pipeline, or "0 5 * * 1-5".')],
    timezone: Annotated[
        str | None, typer.Option("--tz", "--timezone", metavar="ZONE", help="Such as Europe/Berlin.")
    ] = None,
    start: Annotated[str | None, typer.Option("--from", metavar="TIME", help="From then on.  [default: now]")] = None,
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 5,
    style: FormatOption = "table",
    profile: ProfileOption = None,
    project: ProjectOption = None,
) -> None:
    """Print when a schedule is due next, in its own time and in UTC, with notes on hours that clocks skip or repeat."""
    from fpbus.schemas import Explain

    with connected(project, profile) as control:
        explained = control.explain_schedule(Explain(what=what, timezone=timezone, start=start, count=count))
    if style == "table":
        _show(explained)
    else:
        show_data(explained, style)


def _show(explained: "Explained") -> None:
    tell(f"{explained.trigger}, {explained.timezone}")
    show_list(explained.fires, _FIRES, "table", "It is never due.")
    for note in explained.notes:
        tell(note)


def _parts(text: str | None, option: str) -> Any:
    """Read JSON fields; a text without braces stays as it is."""
    return read_object(text, option) if text is not None and text.lstrip().startswith("{") else text
