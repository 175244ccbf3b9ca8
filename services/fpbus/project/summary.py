"""What there is in a project, read from its files without running any of them."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from fpbus.schemas import ScheduleConfig

from .configuration import load_pipeline, load_project
from .errors import ProjectError, UnknownPipelineError
from .files import MODULES, PIPELINES, pipeline_names
from .masking import masked


class PipelineEntry(Struct, frozen=True, kw_only=True):
    """One line of a listing. Paths are relative to the project; `changed_at` and `bytes` are of both files."""

    name: str
    module: str | None
    config: str
    schedule: str | None
    changed_at: datetime
    bytes: int


class PipelineSummary(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A pipeline's configuration, with its secrets masked, and its code; None for what was not asked for."""

    config: dict[str, Any] | None = None
    module: str | None = None
    code: str | None = None


class ProjectSummary(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A project's configuration, with its secrets masked, and its pipelines."""

    folder: str
    project: dict[str, Any] | None = None
    pipelines: dict[str, PipelineSummary]


def list_pipelines(folder: Path) -> list[PipelineEntry]:
    """List the pipelines; one whose configuration cannot be read is listed too."""
    return [_entry(folder, name) for name in pipeline_names(folder)]


def summarise_project(
    folder: Path, name: str | None = None, *, cfg: bool = True, code: bool = True, project: bool = True
) -> ProjectSummary:
    """Tell of the project and of its pipelines, or of the one called `name`."""
    known = pipeline_names(folder)
    if name is not None and name not in known:
        raise UnknownPipelineError(name, known)
    return ProjectSummary(
        folder=str(folder),
        project=masked(load_project(folder)) if project else None,
        pipelines={each: _summary(folder, each, cfg=cfg, code=code) for each in ([name] if name else known)},
    )


def in_words(schedule: ScheduleConfig | None) -> str | None:
    """Say when a schedule fires, as it is written; None where there is none."""
    if schedule is None:
        return None
    named = ("cron", schedule.cron), ("every", schedule.interval), ("at", schedule.date)
    words = [f"{word} {_written(value)}" for word, value in named if value is not None]
    zone = f" {schedule.timezone}" if schedule.timezone else ""
    return f"{', '.join(words)}{zone}{'' if schedule.enabled else ' (disabled)'}"


def _entry(folder: Path, name: str) -> PipelineEntry:
    config, module = PIPELINES / f"{name}.yml", MODULES / f"{name}.py"
    there = [folder / path for path in (config, module) if (folder / path).is_file()]
    states = [path.stat() for path in there]
    return PipelineEntry(
        name=name,
        module=str(module) if folder / module in there else None,
        config=str(config),
        schedule=_schedule(folder, name),
        changed_at=datetime.fromtimestamp(max(state.st_mtime for state in states), UTC),
        bytes=sum(state.st_size for state in states),
    )


def _schedule(folder: Path, name: str) -> str | None:
    try:
        return in_words(load_pipeline(folder, name).schedule)
    except ProjectError:
        return "(cannot be read)"


def _written(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return f"{value:g}s"
    parts: Mapping[str, Any] = msgspec.to_builtins(value)
    return " ".join(f"{key}={part}" for key, part in parts.items())


def _summary(folder: Path, name: str, *, cfg: bool, code: bool) -> PipelineSummary:
    module = MODULES / f"{name}.py"
    text = next(_texts(folder / module), None) if code else None
    return PipelineSummary(
        config=masked(load_pipeline(folder, name)) if cfg else None,
        module=str(module) if text is not None else None,
        code=text,
    )


def _texts(path: Path) -> Iterator[str]:
    if path.is_file():
        yield path.read_text(encoding="utf-8", errors="replace")
