"""Is there room where history, schedules, storage and outboxes lie on this machine."""

import os
import shutil
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from fpbus.lifecycle import Settings

from .findings import Finding

_FEW: Final = 256 * 2**20
_NARROW: Final = 2 * 2**30


def look_at_disks(settings: Settings) -> list[Finding]:
    """Return one finding for each folder; what lies on another machine is skipped."""
    own = settings.project_dir / ".fpbus"
    places = {
        "project": str(own),
        "history": settings.history_url,
        "schedules": settings.schedules_url,
        "storage": settings.storage_url,
    }
    return [_look_at(name, where) for name, where in places.items() if where]


def _look_at(name: str, where: str) -> Finding:
    path = _local(where)
    if path is None:
        message = f"The {name} lies on another machine."
        return Finding(area="disk", name=name, status="skipped", message=message)
    folder = next(one for one in (path, *path.parents) if one.is_dir())
    free = shutil.disk_usage(folder).free
    message = f"{free / 2**30:,.1f} GiB are free at {folder}."
    if not os.access(folder, os.W_OK):
        return _fault(name, f"Nothing can be written to {folder}.", "Give it to the user who runs fpbus.")
    if free < _FEW:
        return _fault(name, f"{message} Full, services wait, and nothing is remembered.", _REMEDY)
    if free < _NARROW:
        return Finding(area="disk", name=name, status="warning", message=message, remedy=_REMEDY)
    return Finding(area="disk", name=name, status="ok", message=message)


_REMEDY: Final = "Make room, or have less remembered: `history.keep_days` or `history.keep_runs` in conf/project.yml."


def _fault(name: str, message: str, remedy: str) -> Finding:
    return Finding(area="disk", name=name, status="fault", message=message, remedy=remedy)


def _local(where: str) -> Path | None:
    """Return the path of a URL of a file or an SQLite database, or of a path; None for other machines."""
    if "://" not in where:
        return Path(where).absolute()
    parts = urlsplit(where)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    if parts.scheme.partition("+")[0] == "sqlite":
        return Path(unquote(parts.path[1:])).absolute()
    return None
