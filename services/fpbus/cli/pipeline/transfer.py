"""`fpbus pipeline import` and `export`: pipelines from one project to another."""

from pathlib import Path
from typing import Annotated

import typer

from fpbus.cli.options import LogLevelOption
from fpbus.cli.output import tell, write

from .options import BaseDirOption, StorageOptionsOption, named, project_folder, project_to_change

NamesArgument = Annotated[list[str] | None, typer.Argument(metavar="NAME", help="The pipelines.")]
AllOption = Annotated[bool, typer.Option("--all", help="All of them.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace pipelines of the same names.")]


def import_(  # noqa: PLR0917 (Typer makes options of them)
    from_: Annotated[str, typer.Option("--from", metavar="PROJECT", help="The other project: a folder or a URL.")],
    names: NamesArgument = None,
    every: AllOption = False,
    overwrite: OverwriteOption = False,
    base_dir: BaseDirOption = None,
    storage_options: StorageOptionsOption = None,
    _level: LogLevelOption = None,
) -> None:
    """Copy pipelines from another project.

    With them come their folders of hooks. Prints the files.
    """
    options, own = (storage_options, None) if "://" in from_ else (None, storage_options)
    source = project_folder(from_, options)
    with project_to_change(base_dir, own) as destination:
        for path in _copied(source, destination, names, every=every, overwrite=overwrite):
            write(named(path, destination, base_dir))


def export(  # noqa: PLR0917 (Typer makes options of them)
    to: Annotated[str, typer.Option("--to", metavar="PROJECT", help="The other project: a folder or a URL.")],
    names: NamesArgument = None,
    every: AllOption = False,
    overwrite: OverwriteOption = False,
    base_dir: BaseDirOption = None,
    storage_options: StorageOptionsOption = None,
    _level: LogLevelOption = None,
) -> None:
    """Copy pipelines into another project.

    With them go their folders of hooks. Prints the files.
    """
    options, own = (storage_options, None) if "://" in to else (None, storage_options)
    source = project_folder(base_dir, own)
    with project_to_change(to, options) as destination:
        for path in _copied(source, destination, names, every=every, overwrite=overwrite):
            write(named(path, destination, to))


def _copied(source: Path, destination: Path, names: list[str] | None, *, every: bool, overwrite: bool) -> list[Path]:
    from fpbus.project import copy_pipelines

    if bool(names) == every:
        raise typer.BadParameter("name the pipelines, or say --all.", param_hint="NAME")
    files = copy_pipelines(source, destination, names or None, overwrite)
    if not files:
        tell("There are no pipelines to copy.")
    return files
