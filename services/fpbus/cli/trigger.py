"""`fpbus trigger`: the daily command."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from .connecting import connected
from .inputs import make_request, read_start
from .options import Format, FormatOption, PriorityName, ProjectOption, RunIdOption
from .output import show_data, tell, write
from .profiles import ProfileOption
from .run_options import (
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
    settings_given,
    settings_of_run,
)
from .settings import zone_of
from .words import exit_of, lines_of, say_end, show_outputs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fpbus.control import Control, RunEvent
    from fpbus.schemas import RunRequest, RunResult, RunStatus

DUPLICATE = 7


def trigger(  # noqa: PLR0917 (Typer makes options of them)
    pipeline: Annotated[str, typer.Argument(metavar="NAME", help="The pipeline.")],
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
    run_id: RunIdOption = None,
    key: Annotated[str | None, typer.Option(metavar="TEXT", help="What the run is about, say a device.")] = None,
    priority: Annotated[PriorityName | None, typer.Option(help="The queue to wait in.")] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--not-before",
            "--run-at",
            "--run-in",
            metavar="TIME",
            help="Start then: ISO 8601, without a zone in the project's; or 1h30m from now.",
        ),
    ] = None,
    expires_at: Annotated[str | None, typer.Option(metavar="TIME", help="Do not start after that.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Show what happens, and print the outputs.")] = False,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="How long to wait.")] = 60,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 7 when the run id was accepted before.")] = False,
    style: FormatOption = "table",
    profile: ProfileOption = None,
    project: ProjectOption = None,
) -> None:
    """Run a pipeline on the bus.

    Prints the id of the run, or with --wait its outputs. Exit codes: 0 succeeded or accepted, 1 failed or dead,
    3 rejected, 4 no such pipeline, 5 nobody there, 6 cancelled, 7 duplicate, 124 the wait timed out.
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
    now, zone = datetime.now(UTC), zone_of(project)
    request = make_request(
        **settings_given(settings),
        run_id=run_id,
        key=key,
        priority=priority,
        not_before=read_start(start, "--run-at", now, zone),
        expires_at=read_start(expires_at, "--expires-at", now, zone),
    )
    with connected(project, profile) as control:
        if wait:
            _run(control, pipeline, request, timeout, strict=strict, style=style)
        else:
            _submit(control, pipeline, request, strict=strict, style=style)


def _submit(control: "Control", pipeline: str, request: "RunRequest", *, strict: bool, style: Format) -> None:
    status = control.submit(pipeline, request)
    show_accepted(status, style)
    if request.not_before and status.not_before:
        tell(f"It starts at {request.not_before.isoformat(sep=' ', timespec='seconds')}.")
    _refuse_duplicate(status, strict=strict)


def _run(
    control: "Control", pipeline: str, request: "RunRequest", timeout_s: float, *, strict: bool, style: Format
) -> None:
    from fpbus.schemas import RunStatus

    events = control.run(pipeline, request, timeout_s)
    accepted = next(events)
    assert isinstance(accepted, RunStatus)
    follow_to_end(events, accepted, style, strict=strict)


def show_accepted(status: "RunStatus", style: Format) -> None:
    """Print the id of a run that was accepted, or all that is known of it."""
    warn(status)
    if style == "table":
        write(status.run_id)
    else:
        show_data(status, style)


def warn(status: "RunStatus") -> None:
    """Say that nobody is there to start the run, where the dispatcher says so."""
    if status.reason is not None:
        tell(status.reason)


def follow_to_end(events: "Iterator[RunEvent]", accepted: "RunStatus", style: Format, *, strict: bool = False) -> None:
    """Tell what happens to a new run on standard error, print its result, and exit as it ended."""
    import msgspec

    from fpbus.schemas import RunResult

    try:
        tell(f"Run {accepted.run_id}")
        warn(accepted)
        _refuse_duplicate(accepted, strict=strict)
        for event in events:
            if isinstance(event, RunResult):
                _show_result(event, style)
                raise exit_of(event)
            if event != msgspec.structs.replace(accepted, reason=None):
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
