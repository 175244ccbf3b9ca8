"""`fpbus pipeline check`: every fault of a project at once."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from fpbus.cli.options import FormatOption, LogLevelOption
from fpbus.cli.output import Columns, show_data, show_table, tell

from .options import BaseDirOption, StorageOptionsOption, project_folder
from .talking import talking

if TYPE_CHECKING:
    from fpbus.pipelines import Project
    from fpbus.pipelines.checking import Finding

NOT_RIGHT: Final = 8

_COLUMNS: Final[Columns] = {
    "WHERE": lambda finding: f"{finding.file}:{finding.line}" if finding.line else finding.file,
    "KEY": lambda finding: finding.key or "",
    "WHAT IS WRONG": lambda finding: f"{'warning: ' if finding.warning else ''}{finding.message}",
    "WHAT TO DO": lambda finding: finding.hint or "",
}


def check(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this pipeline.")] = None,
    style: FormatOption = "table",
    base_dir: BaseDirOption = None,
    storage_options: StorageOptionsOption = None,
    _level: LogLevelOption = None,
) -> None:
    """Say everything that is wrong with the project.

    Reads its files, imports its code and builds its DAGs, but runs none. The exit code is 8 when something is
    wrong; a warning is not.
    """
    folder = project_folder(base_dir, storage_options)
    with talking("json"):  # modules may print when they are imported
        names, findings = _look(folder, name)
    if style != "table":
        show_data(findings, style)
    elif findings:
        show_table(list(_COLUMNS), [[cell(finding) for cell in _COLUMNS.values()] for finding in findings])
    wrong = [finding for finding in findings if not finding.warning]
    if wrong:
        raise typer.Exit(NOT_RIGHT)
    tell(f"all well: {len(names)} {'pipeline' if len(names) == 1 else 'pipelines'}")


def _look(folder: Path, name: str | None) -> "tuple[list[str], list[Finding]]":
    """Look at the files first, and at the code of those pipelines whose files are right."""
    from fpbus.pipelines import Project
    from fpbus.pipelines.checking import check_hooks, check_pipeline, in_files
    from fpbus.project import UnknownPipelineError, pipeline_names

    known = pipeline_names(folder)
    if name is not None and name not in known:
        raise UnknownPipelineError(name, known)
    names = [name] if name else known
    findings = in_files(folder, name)
    broken = {finding.file for finding in findings}
    if "conf/project.yml" in broken:
        return names, findings
    project = Project.load(folder)
    for each in names:
        if f"conf/pipelines/{each}.yml" not in broken:
            findings += [*check_pipeline(project, each), *_of_schedule(project, each)]
    if name is None:
        findings += check_hooks(project)
    return names, list(dict.fromkeys(findings))


def _of_schedule(project: "Project", name: str) -> "list[Finding]":
    """Say what is wrong with a pipeline's schedule: whether it means something only the scheduler knows."""
    from fpbus.pipelines.checking import Places
    from fpbus.project import load_pipeline
    from fpbus.scheduler.planning import ScheduleError, spec_of_file

    schedule = load_pipeline(project.folder, name).schedule
    if schedule is None:
        return []
    try:
        spec_of_file(name, schedule, project.config)
    except ScheduleError as error:
        own = error.key if schedule.timezone or error.key != "timezone" else None
        key = ("timezone",) if own is None else ("schedule",) if own == "schedule" else ("schedule", own)
        message = str(error).partition(": ")[2] or str(error)
        return [Places(project.folder, name).finding(key, message)]
    return []
