"""Options that several `pipeline` commands have, and where the project is that they mean."""

import contextlib
import os
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fpbus.cli.inputs import read_object

if TYPE_CHECKING:
    from fpbus.pipelines import Project

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The pipeline.")]
BaseDirOption = Annotated[
    str | None,
    typer.Option(
        "--base-dir", metavar="DIR", help="The project: a folder or a URL.  [default: here, or FPBUS_PROJECT]"
    ),
]
StorageOptionsOption = Annotated[
    str | None,
    typer.Option("--storage-options", metavar="JSON", help="For a project at a URL: what fsspec needs to open it."),
]


def storage_options_of(text: str | None) -> dict[str, object] | None:
    return read_object(text, "--storage-options") if text is not None else None


def project_folder(base_dir: str | None, storage_options: str | None) -> Path:
    """Return the folder of the project to look at; one at a URL is copied to this machine first."""
    options = storage_options_of(storage_options)
    place = _place(base_dir)
    if "://" not in place:
        return _found(place)
    from fpbus.project import checkout

    return checkout(place, options)


@contextlib.contextmanager
def project_to_change(base_dir: str | None, storage_options: str | None) -> Generator[Path]:
    """Give the folder of the project to change; what changes in one at a URL is carried back at the end."""
    options = storage_options_of(storage_options)
    place = _place(base_dir)
    if "://" not in place:
        yield _found(place)
        return
    from fpbus.project import ProjectError, working_copy
    from fpbus.project.credentials import shown

    with working_copy(place, options) as folder:
        if not (folder / "conf" / "project.yml").is_file():
            raise ProjectError(f"There is no fpbus project at {shown(place)}.", "Make one: fpbus init --base-dir URL")
        yield folder


def named(path: Path, folder: Path, base_dir: str | None) -> str:
    """Say where a file of the project is, for whoever wants to open it: in the project itself, not in our copy."""
    place = _place(base_dir)
    if "://" in place and path.is_relative_to(folder):
        from fpbus.project.credentials import shown

        return f"{shown(place).rstrip('/')}/{path.relative_to(folder)}"
    return str(path)


def load_at(base_dir: str | None, storage_options: str | None) -> "Project":
    """Load the project to look at."""
    folder = project_folder(base_dir, storage_options)
    from fpbus.pipelines import Project

    return Project.load(folder)


def _found(place: str) -> Path:
    """Find the project at or above a folder, which exists: a mistyped one must not mean the one above."""
    from fpbus.project import ProjectError, find_project

    folder = Path(place).resolve()
    if not folder.is_dir():
        raise ProjectError(f"There is no folder {folder}.")
    return find_project(folder)


def _place(base_dir: str | None) -> str:
    return base_dir or os.environ.get("FPBUS_PROJECT") or "."
