"""Options that several commands have."""

import os
from typing import Annotated, Literal

import typer

Format = Literal["table", "json", "yaml"]
Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
RoleName = Literal["dispatcher", "runner", "recorder", "scheduler"]
PriorityName = Literal["high", "default", "low"]
StateName = Literal[
    "accepted", "delayed", "queued", "started", "retrying", "lost", "succeeded", "failed", "cancelled", "dead"
]


def _check_run(run: str | None) -> str | None:
    from fpbus.schemas import is_run_id

    if run is not None and not is_run_id(run):
        raise typer.BadParameter(f"{run!r} is no run id; those have up to 64 of A-Z, a-z, 0-9, '-' and '_'.")
    return run


def _check_pipeline(name: str | None) -> str | None:
    from fpbus.schemas import is_pipeline_name

    if name is not None and not is_pipeline_name(name):
        raise typer.BadParameter(f"{name!r} cannot name a pipeline.")
    return name


def _set_log_level(level: Level | None) -> Level | None:
    """Make the level that of this process and of those that it starts, as the environment variable does."""
    if level is not None:
        os.environ["FPBUS_LOG_LEVEL"] = level
    return level


def _check_queues(names: str | None) -> str | None:
    if names is not None:
        from fpbus.schemas.lanes import read_lanes

        read_lanes(names)
    return names


FormatOption = Annotated[Format, typer.Option("--format", help="How to print.")]
ProjectOption = Annotated[
    str | None,
    typer.Option(
        "--project", "--base-dir", metavar="DIR", help="Where the project is.  [default: here, or FPBUS_PROJECT]"
    ),
]
PipelineOption = Annotated[
    str | None, typer.Option("--pipeline", metavar="NAME", callback=_check_pipeline, help="Only of this pipeline.")
]
PipelineNeededOption = Annotated[
    str, typer.Option("--pipeline", metavar="NAME", callback=_check_pipeline, help="Whose runs.")
]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", callback=_check_run, help="The id of a run.")]
RunIfAny = Annotated[str | None, typer.Argument(metavar="RUN", callback=_check_run, help="Only this run, to its end.")]
RunIdOption = Annotated[
    str | None,
    typer.Option("--run-id", metavar="ID", callback=_check_run, help="Id of the run; the same id never runs twice."),
]
QueueNamesOption = Annotated[
    str | None,
    typer.Option(
        "--queue-names",
        metavar="A,B",
        callback=_check_queues,
        help="Which queues the workers serve, in this order.  [default: as the project says, else all]",
    ),
]
JobExecutorOption = Annotated[
    str | None,
    typer.Option(
        "--job-executor",
        metavar="NAME|JSON",
        help="Runner: the executor of runs that ask for none.  [default: as their pipelines say]",
    ),
]
LogLevelOption = Annotated[
    Level | None,
    typer.Option(
        "--log-level",
        metavar="LEVEL",
        case_sensitive=False,
        callback=_set_log_level,
        help="DEBUG, INFO, WARNING, ERROR or CRITICAL. DEBUG shows tracebacks too.",
    ),
]
