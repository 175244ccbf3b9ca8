"""`fpbus pipeline add-hook`."""

from typing import Annotated

import typer

from fpbus.cli.options import LogLevelOption
from fpbus.cli.output import tell, write

from .options import BaseDirOption, NameArgument, StorageOptionsOption, named, project_to_change


def add_hook(  # noqa: PLR0917 (Typer makes options of them)
    name: NameArgument,
    function: Annotated[str, typer.Option("--function", "-f", metavar="NAME", help="What to call the function.")],
    type_: Annotated[
        str,
        typer.Option(
            "--type",
            metavar="TYPE",
            help="When it is called: before-run, after-run, before-node, after-node, on-success, on-failure, "
            "on-message, or mqtt-build-config.",
        ),
    ] = "mqtt-build-config",
    to: Annotated[
        str | None, typer.Option(metavar="FILE", help="A file in the hooks folder.  [default: NAME/hook.py]")
    ] = None,
    base_dir: BaseDirOption = None,
    storage_options: StorageOptionsOption = None,
    _level: LogLevelOption = None,
) -> None:
    """Write a function to call when a pipeline runs.

    Prints its file. One that is there is added to.
    """
    from fpbus.project import add_hook as write_hook

    with project_to_change(base_dir, storage_options) as folder:
        path = write_hook(folder, name, function, type_, to)
        write(named(path, folder, base_dir))
    tell(f"Edit {function}; it is called from now on.")
