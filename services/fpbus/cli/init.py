"""`fpbus init`: a new project."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from .output import tell, write


def init(
    name: Annotated[
        str | None,
        typer.Option("--name", "-n", help="Name of the project, and of a new folder for it.  [default: here]"),
    ] = None,
    base_dir: Annotated[Path, typer.Option("--base-dir", "-d", help="Where that folder is made.")] = Path(),
    job_queue_type: Annotated[Literal["rq"], typer.Option("--job-queue-type", "-q", help="The job queue.")] = "rq",
) -> None:
    """Make a project that runs at once. Files that exist are left alone."""
    from fpbus.project import make_project

    del job_queue_type  # there is one, and the template names it
    folder = (base_dir / name if name else base_dir).resolve()
    for path in make_project(folder, name or folder.name):
        write(str(path))
    where = "" if folder == Path.cwd() else f"cd {folder} && "
    tell(f"Start it: {where}fpbus up")
