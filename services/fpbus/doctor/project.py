"""What `fpbus pipeline check` says, in a process of its own: the project's code is imported there, and may hang."""

import subprocess
from pathlib import Path
from typing import Any, Final

import msgspec

from fpbus.supervisor.plan import FPBUS

from .findings import Finding

_PATIENCE_S: Final = 25.0


class _Found(msgspec.Struct, frozen=True):
    """One line of `fpbus pipeline check --format json`."""

    file: str
    message: str
    line: int | None = None
    key: str | None = None
    hint: str | None = None
    warning: bool = False


def look_at_project(folder: Path) -> list[Finding]:
    """Return what is wrong with the project's files and code, or one finding that says that nothing is."""
    command = [*FPBUS, "pipeline", "check", "--format", "json", "--base-dir", str(folder)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE_S, check=False)
    except subprocess.TimeoutExpired:
        message = (
            f"`fpbus pipeline check` did not end within {_PATIENCE_S:g} s; a module does much when it is imported."
        )
        return [_finding("check", "warning", message, f"Try it alone: fpbus pipeline check --base-dir {folder}")]
    found = _read(done.stdout)
    if found is None:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        message = (said[0] if said else f"`fpbus pipeline check` ended with {done.returncode}.").removeprefix("Error: ")
        return [_finding("check", "fault", message, said[1] if len(said) > 1 else None)]
    return [_of(one) for one in found] or [
        _finding("check", "ok", "Files, code and graphs of all pipelines are right.")
    ]


def _read(output: bytes) -> list[_Found] | None:
    try:
        return msgspec.json.decode(output, type=list[_Found])
    except msgspec.DecodeError:
        return None


def _of(one: _Found) -> Finding:
    place = f"{one.file}:{one.line}" if one.line else one.file
    key = f" {one.key}:" if one.key else ""
    return _finding("check", "warning" if one.warning else "fault", f"{place}:{key} {one.message}", one.hint)


def _finding(name: str, status: Any, message: str, remedy: str | None = None) -> Finding:
    return Finding(area="project", name=name, status=status, message=message, remedy=remedy)
