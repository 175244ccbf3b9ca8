"""`fpbus runs retry` and `delete`."""

from typing import Annotated

import typer

from .connecting import connected
from .inputs import read_inputs
from .options import FormatOption, ProjectOption, RunArgument
from .profiles import ProfileOption
from .run_options import InputOption, InputsOption
from .trigger import follow_to_end, show_accepted


def retry(  # noqa: PLR0917 (Typer makes options of them)
    run: RunArgument,
    input_: InputOption = None,
    inputs: InputsOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Show what happens, and print the outputs.")] = False,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="How long to wait.")] = 60,
    style: FormatOption = "table",
    profile: ProfileOption = None,
    project: ProjectOption = None,
) -> None:
    """Run again what has ended, however it did, as a new run; inputs that are given are laid over those of the first.

    Prints the id of the new run, or with --wait its outputs. Exit codes as of `fpbus trigger`.
    """
    with connected(project, profile) as control:
        status = control.retry(run, read_inputs(input_ or [], inputs))
        if wait:
            follow_to_end(control.follow(status.run_id, timeout), status, style)
        else:
            show_accepted(status, style)
