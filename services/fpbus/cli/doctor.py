"""`fpbus doctor`: what is wrong, what to do about it, and what is promised."""

import sys
from typing import TYPE_CHECKING

import typer

from .connecting import client_settings
from .options import FormatOption, ProjectOption
from .output import Columns, show_data, show_list, tell, write

if TYPE_CHECKING:
    from collections.abc import Callable

    from fpbus.doctor import Finding
    from fpbus.lifecycle import Settings

_FINDINGS: Columns = {
    "STATUS": lambda finding: finding.status,
    "WHAT": lambda finding: f"{finding.area} {finding.name}",
    "FOUND": lambda finding: finding.message,
}

_GUARANTEES: Columns = {
    "PIPELINE": lambda guarantee: guarantee.pipeline,
    "OF": lambda guarantee: guarantee.of,
    "GUARANTEE": lambda guarantee: guarantee.level,
    "BECAUSE": lambda guarantee: guarantee.why,
}


def doctor(style: FormatOption = "table", project: ProjectOption = None) -> None:
    """Look at broker, Redis, project, services and disks, and say what is wrong and what each pipeline can rely on.

    It publishes on topics of its own below `fpbus/doctor/`, and leaves nothing behind. The exit code is 0 without a
    fault, 5 when broker, Redis or services have one, and 8 when project or disks have.
    """
    import logging

    from fpbus.doctor import examine, exit_code

    logging.disable(logging.CRITICAL)  # what matters is in the findings
    settings = client_settings(project)
    report = examine(settings, _noter(), own_broker=_is_own(settings))
    if style != "table":
        show_data(report, style)
    else:
        show_list(report.findings, _FINDINGS, style, "")
        if report.guarantees:
            write("")
            show_list(report.guarantees, _GUARANTEES, style, "")
        _tell_remedies(report.findings)
    code = exit_code(report.findings)
    if code:
        raise typer.Exit(code)


def _is_own(settings: "Settings") -> bool:
    """Tell whether the broker is that of the `fpbus up` of this project."""
    from fpbus.project import ProjectError, find_project
    from fpbus.supervisor import running

    try:
        up = running(find_project(settings.project_dir))
    except ProjectError:
        return False
    return up is not None and up.mqtt_url == settings.mqtt_url and "broker" in up.processes


def _noter() -> "Callable[[str], None]":
    """Return what shows progress: on a terminal only."""
    return tell if sys.stderr.isatty() else lambda _: None


def _tell_remedies(findings: "list[Finding]") -> None:
    told = [finding for finding in findings if finding.remedy and finding.status != "ok"]
    for finding in told:
        tell(f"{finding.area} {finding.name}: {finding.remedy}")
    faults = sum(finding.status == "fault" for finding in findings)
    warnings = sum(finding.status == "warning" for finding in findings)
    tell(f"{faults} fault{'' if faults == 1 else 's'}, {warnings} warning{'' if warnings == 1 else 's'}")
