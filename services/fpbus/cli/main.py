"""The command line as a whole: which commands there are, and what becomes of their errors."""

import os
import sys
from typing import Annotated, Final

import typer

from .acl import acl
from .asyncapi import asyncapi
from .demo import demo
from .doctor import doctor
from .group import Commands
from .init import init
from .job_queue import job_queue
from .mqtt import mqtt
from .options import LogLevelOption
from .outbox import outbox
from .output import finish, tell
from .pipeline import pipeline
from .replay import replay
from .runs import runs
from .serve import serve
from .services import health, ps
from .trigger import trigger
from .ui import ui
from .up import up
from .watch import watch

INTERRUPTED: Final = 130
NOT_RIGHT: Final = 8

# Without rich's help pages, which would take longer to load than everything else together.
app = typer.Typer(
    name="fpbus", cls=Commands, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False
)
for command in (init, up, trigger, outbox, replay, watch, ps, health, doctor, serve, acl, asyncapi, ui, demo):
    app.command()(command)
app.add_typer(pipeline, name="pipeline")
app.add_typer(runs, name="runs")
app.add_typer(job_queue, name="job-queue")
app.add_typer(mqtt, name="mqtt")


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"fpbus {version('fpbus')}")
        raise typer.Exit


@app.callback()
def fpbus(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
    _level: LogLevelOption = None,
) -> None:
    """MQTT messages become pipeline runs."""


def main() -> None:
    """Run the command that the arguments name, and exit with its code."""
    code = _run()
    finish()
    sys.exit(code)


def _run() -> int | str | None:
    try:
        app()
    except SystemExit as end:  # Typer's own way out
        return end.code
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        return _explain(error)
    return 0


def _explain(error: Exception) -> int:
    """Say what is wrong, and what to do; return the exit code that belongs to it."""
    from fpbus.schemas import FpbusError

    debugging = os.environ.get("FPBUS_LOG_LEVEL", "").upper() == "DEBUG"
    if debugging:
        import traceback

        tell("".join(traceback.format_exception(error)).rstrip())
    if isinstance(error, FpbusError):
        _say_where(error)
        tell(f"Error: {error}")
        hint, code = error.hint, error.exit_code
    elif isinstance(error, OSError) and error.filename:
        tell(f"Error: {error.filename}: {error.strerror}.")
        hint, code = None, NOT_RIGHT
    else:
        tell(f"Error: fpbus stumbled: {type(error).__name__}: {error}")
        hint, code = None if debugging else "To see where: fpbus --log-level DEBUG ...", NOT_RIGHT
    if hint:
        tell(hint)
    return code


def _say_where(error: Exception) -> None:
    """Show the line of a pipeline's module at which its import ended."""
    if getattr(error, "traceback", None) and error.__cause__ is not None:
        from .pipeline.failures import last_own_line

        if line := last_own_line(error.__cause__):
            tell(line)
