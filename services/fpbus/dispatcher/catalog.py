"""The project's pipelines as the dispatcher knows them: read again when a file changed, the last good ones kept."""

import logging
import time
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from fpbus.project import ProjectError, load_pipelines, load_project, names_stamp, source_digest, stamp

from .handlers import Rules

log = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 1.0


class Catalog:
    """Holds the rules in force. `trouble` is the sentence about the files that could not be used."""

    def __init__(self, folder: Path, root: str) -> None:
        self._folder = folder
        self._root = f"{root.strip('/')}/" if root.strip("/") else ""
        self._looked_at = time.monotonic()
        self._stamp, self._names_at = stamp(folder), names_stamp(folder)
        self.trouble: str | None = None
        self.rules = self._load()

    def look(self) -> Rules:
        """Read the files again if one has changed; at most every second."""
        if time.monotonic() - self._looked_at > _LOOK_EVERY_S:
            self._looked_at = time.monotonic()
            self._reload_if_changed()
        return self.rules

    def look_for_new(self) -> Rules:
        """Read the files again if one has come or gone; cheap enough to ask for every unknown name."""
        if names_stamp(self._folder) != self._names_at:
            self._reload_if_changed()
        return self.rules

    def _reload_if_changed(self) -> None:
        current = stamp(self._folder)
        if current == self._stamp:
            return
        self._stamp, self._names_at = current, names_stamp(self._folder)
        try:
            self.rules = self._load()
            self.trouble = None
            log.info("read the project again", extra={"pipelines": len(self.rules.pipelines)})
        except ProjectError as error:
            self.trouble = str(error)
            log.error("kept the last good configuration", extra={"reason": self.trouble})

    def _load(self) -> Rules:
        project = load_project(self._folder)
        return Rules(
            pipelines=load_pipelines(self._folder),
            limits=project.limits,
            timezone=_zone(project.timezone),
            root=self._root,
            source=source_digest(self._folder),
        )


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise ProjectError(f"conf/project.yml: `timezone` is {name!r}, which is no IANA time zone.") from None
