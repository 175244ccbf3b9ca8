"""`fpbus pipeline show-pipelines`."""

from typing import Final

from fpbus.cli.options import FormatOption, LogLevelOption
from fpbus.cli.output import Columns, show_list
from fpbus.cli.words import moment

from .options import BaseDirOption, StorageOptionsOption, project_folder

_COLUMNS: Final[Columns] = {
    "PIPELINE": lambda entry: entry.name,
    "MODULE": lambda entry: entry.module or "(missing)",
    "CONFIGURATION": lambda entry: entry.config,
    "SCHEDULE": lambda entry: entry.schedule or "",
    "CHANGED": lambda entry: moment(entry.changed_at),
    "BYTES": lambda entry: str(entry.bytes),
}


def show_pipelines(
    style: FormatOption = "table",
    base_dir: BaseDirOption = None,
    storage_options: StorageOptionsOption = None,
    _level: LogLevelOption = None,
) -> None:
    """List the pipelines of the project."""
    from fpbus.project.summary import list_pipelines

    entries = list_pipelines(project_folder(base_dir, storage_options))
    show_list(entries, _COLUMNS, style, "No pipelines. Make one: fpbus pipeline new NAME")
