"""`fpbus trigger`: the daily command."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from .connecting import connected
from .inputs import make_request, read_inputs, read_moment, read_names
from .options import Format, FormatOption, PriorityName, ProjectOption, RunIdOption
from .output import show_data, tell, write
from .words import exit_of, lines_of, say_end, show_outputs

if TYPE_CHECKING:
    from fpbus.control import Control
    from fpbus.schemas import RunRequest, RunResult, RunStatus

DUPLICATE = 7


def trigger(  # noqa: PLR0917 (Typer makes options of them)
    pipeline: Annotated[str, typer.Argument(metavar="NAME", help="The pipeline.")],
    input_: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="KEY=VALUE", help="One input; JSON, or else a string. May be repeated."),
    ] = None,
    inputs: Annotated[
        str | None, typer.Option(metavar="JSON", help="Inputs as a JSON object, @file, or - for standard input.")
    ] = None,
    final_vars: Annotated[
        str | None, typer.Option(metavar="NAMES", help="The outputs wanted: a,b or a JSON list.")
    ] = None,
    run_id: RunIdOption = None,
    key: Annotated[str | None, typer.Option(metavar="TEXT", help="What the run is about, say a device.")] = None,
    priority: Annotated[PriorityName | None, typer.Option(help="The queue to wait in.")] = None,
    not_before: Annotated[
        str | None, typer.Option(metavar="TIME", help="Start then: ISO 8601, or 15m from now.")
    ] = None,
    expires_at: Annotated[str | None, typer.Option(metavar="TIME", help="Do not start after that.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Show what happens, and print the outputs.")] = False,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="How long to wait.")] = 60,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 7 when the run id was accepted before.")] = False,
    style: FormatOption = "table",
    project: ProjectOption = None,
) -> None:
    """Run a pipeline on the bus.

    Prints the id of the run, or with --wait its outputs. Exit codes: 0 succeeded or accepted, 1 failed or dead,
    3 rejected, 4 no such pipeline, 5 nobody there, 6 cancelled, 7 duplicate, 124 the wait timed out.
    """
    now = datetime.now(UTC)
    request = make_request(
        run_id=run_id,
        inputs=read_inputs(input_ or [], inputs),
        final_vars=read_names(final_vars, "--final-vars"),
        key=key,
        priority=priority,
        not_before=read_moment(not_before, "--not-before", now, past=False),
        expires_at=read_moment(expires_at, "--expires-at", now, past=False),
    )
    with connected(project) as control:
        if wait:
            _run(control, pipeline, request, timeout, strict=strict, style=style)
        else:
            _submit(control, pipeline, request, strict=strict, style=style)


def _submit(control: "Control", pipeline: str, request: "RunRequest", *, strict: bool, style: Format) -> None:
    status = control.submit(pipeline, request)
    if style == "table":
        write(status.run_id)
    else:
        show_data(status, style)
    _refuse_duplicate(status, strict=strict)


def _run(
    control: "Control", pipeline: str, request: "RunRequest", timeout_s: float, *, strict: bool, style: Format
) -> None:
    """Tell what happens to a new run on standard error, and print its result."""
    from fpbus.schemas import RunResult, RunStatus

    events = control.run(pipeline, request, timeout_s)
    accepted = next(events)
    assert isinstance(accepted, RunStatus)
    try:
        tell(f"Run {accepted.run_id}")
        _refuse_duplicate(accepted, strict=strict)
        for event in events:
            if isinstance(event, RunResult):
                _show_result(event, style)
                raise exit_of(event)
            if event != accepted:
                tell("\n".join(lines_of(event)))
    except KeyboardInterrupt:
        tell(f"The run goes on. Follow it: fpbus watch {accepted.run_id}")
        raise


def _show_result(result: "RunResult", style: Format) -> None:
    say_end(result, tell)
    if style == "table":
        show_outputs(result.outputs)
    else:
        show_data(result, style)


def _refuse_duplicate(status: "RunStatus", *, strict: bool) -> None:
    if not status.duplicate:
        return
    tell(f"Run {status.run_id} was accepted before; it is {status.run_state or 'known'}.")
    if strict:
        raise typer.Exit(DUPLICATE)
