"""`fpbus init`: a new project."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from .inputs import read_object
from .output import tell, write


def init(
    name: Annotated[
        str | None,
        typer.Option("--name", "-n", help="Name of the project, and of its folder.  [default: here]"),
    ] = None,
    base_dir: Annotated[
        str, typer.Option("--base-dir", "-d", metavar="DIR", help="Where that folder is made: a folder or a URL.")
    ] = ".",
    storage_options: Annotated[
        str | None,
        typer.Option("--storage-options", "-s", metavar="JSON", help="For a URL: what fsspec needs to open it."),
    ] = None,
    job_queue_type: Annotated[Literal["rq"], typer.Option("--job-queue-type", "-q", help="The job queue.")] = "rq",
    bare: Annotated[bool, typer.Option("--bare", help="Without the example pipeline.")] = False,
) -> None:
    """Make a project that runs at once. Files that exist are left alone."""
    del job_queue_type  # there is one, and the template names it
    if name is not None and ("/" in name or name in {"", ".", ".."}):
        raise typer.BadParameter(
            "it names a folder too; where that is made is said by --base-dir.", param_hint="--name"
        )
    if "://" in base_dir:
        _init_at_url(name, base_dir, storage_options, bare=bare)
    else:
        _init_here(name, Path(base_dir), bare=bare)


def _init_here(name: str | None, base_dir: Path, *, bare: bool) -> None:
    from fpbus.project import make_project

    folder = (base_dir / name if name else base_dir).resolve()
    for path in make_project(folder, name or folder.name, bare=bare):
        write(str(path))
    where = "" if folder == Path.cwd() else f"cd {_quoted(folder)} && "
    tell(f"Make a pipeline: {where}fpbus pipeline new NAME" if bare else f"Run it: {where}fpbus pipeline run hello")
    tell("Start everything on this machine: fpbus up")


def _init_at_url(name: str | None, base_dir: str, storage_options: str | None, *, bare: bool) -> None:
    from fpbus.project import ProjectError, make_project
    from fpbus.project.credentials import shown
    from fpbus.project.remote import working_copy

    options = read_object(storage_options, "--storage-options") if storage_options is not None else None
    url = f"{base_dir.rstrip('/')}/{name}" if name else base_dir.rstrip("/")
    with working_copy(url, options) as folder:
        if (folder / "conf" / "project.yml").is_file():
            raise ProjectError(f"There is a project at {shown(url)} already.", "Nothing was changed.")
        made = [path.relative_to(folder) for path in make_project(folder, name or url.rpartition("/")[2], bare=bare)]
    for path in made:
        write(f"{shown(url)}/{path}")
    what = "Make a pipeline: fpbus pipeline new NAME" if bare else "Run it: fpbus pipeline run hello"
    tell(f"{what} --base-dir {shown(url)}")


def _quoted(folder: Path) -> str:
    import shlex

    return shlex.quote(str(folder))
