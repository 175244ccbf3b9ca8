"""`fpbus pipeline new` and `delete`."""

from typing import Annotated

import typer

from fpbus.cli.options import LogLevelOption
from fpbus.cli.output import tell, write

from .options import BaseDirOption, NameArgument, StorageOptionsOption, named, project_to_change


def new(
    name: NameArgument,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the pipeline of that name.")] = False,
    base_dir: BaseDirOption = None,
    storage_options: StorageOptionsOption = None,
    _level: LogLevelOption = None,
) -> None:
    """Make a pipeline that runs at once.

    That is a module, and a configuration that shows every key. Prints both files.
    """
    from fpbus.project.pipeline_template import make_pipeline

    with project_to_change(base_dir, storage_options) as folder:
        for path in make_pipeline(folder, name, overwrite=overwrite):
            write(named(path, folder, base_dir))
    tell(f"Run it: fpbus pipeline run {name}")


def delete(
    name: NameArgument,
    cfg: Annotated[bool, typer.Option("--cfg", "-c", help="Only its configuration.")] = False,
    module: Annotated[bool, typer.Option("--module", "-m", help="Only its module.")] = False,
    base_dir: BaseDirOption = None,
    storage_options: StorageOptionsOption = None,
    _level: LogLevelOption = None,
) -> None:
    """Delete a pipeline's files, without asking.

    Prints them. The exit code is 4 when there is nothing to delete.
    """
    from fpbus.project import delete_pipeline

    with project_to_change(base_dir, storage_options) as folder:
        for path in delete_pipeline(folder, name, cfg=cfg, module=module):
            write(named(path, folder, base_dir))
