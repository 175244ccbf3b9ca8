"""Options that several commands have."""

from typing import Annotated, Literal

import typer

Format = Literal["table", "json", "yaml"]
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


FormatOption = Annotated[Format, typer.Option("--format", help="How to print.")]
ProjectOption = Annotated[
    str | None,
    typer.Option("--project", metavar="DIR", help="Where the project is.  [default: here, or FPBUS_PROJECT]"),
]
PipelineOption = Annotated[
    str | None, typer.Option("--pipeline", metavar="NAME", callback=_check_pipeline, help="Only runs of this pipeline.")
]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", callback=_check_run, help="The id of a run.")]
RunIfAny = Annotated[str | None, typer.Argument(metavar="RUN", callback=_check_run, help="Only this run, to its end.")]
RunIdOption = Annotated[
    str | None,
    typer.Option("--run-id", metavar="ID", callback=_check_run, help="Id of the run; the same id never runs twice."),
]
