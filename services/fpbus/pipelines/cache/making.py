"""A cache as configuration asks for it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from fpbus.pipelines.faults import guess
from fpbus.pipelines.storage import default_url
from fpbus.schemas import CacheConfig, FpbusError, ProjectConfig

from .adapter import CacheAdapter
from .files import CacheFiles
from .stores import ValueStore, VersionStore

_BEHAVIORS: Final = ("recompute", "ignore", "disable", "default")
_ALL: Final = "*"


class UnknownNodeError(FpbusError):
    """The settings of the cache do not fit the pipeline's nodes."""

    exit_code = 2


def make_cache(folder: Path, pipeline: str, config: CacheConfig, project: ProjectConfig) -> CacheAdapter:
    """Make the cache of one pipeline. Nothing is read or written until it runs.

    Raises `UnknownNodeError` for nodes that are to behave in two ways.
    """
    _check_once(config)
    files = _files(folder, pipeline, project)
    named = {behavior: getattr(config, behavior) or None for behavior in _BEHAVIORS}
    return CacheAdapter(
        ValueStore(files, allow_pickle=project.cache.allow_pickle),
        VersionStore(files),
        path=files.url,
        **named,
        default_behavior=config.default_behavior,
        default_loader_behavior=config.default_loader_behavior,
        default_saver_behavior=config.default_saver_behavior,
    )


def check_names(config: CacheConfig, nodes: list[str]) -> None:
    """Raise `UnknownNodeError` for names that are no nodes."""
    for behavior, name in _said(config):
        if name != _ALL and name not in nodes:
            raise UnknownNodeError(f"run.cache.{behavior} names {name!r}, which is no node.", guess(name, nodes))


def clear_cache(folder: Path, pipeline: str, project: ProjectConfig) -> None:
    """Delete what is cached for one pipeline."""
    _files(folder, pipeline, project).clear()


def cache_url(folder: Path, pipeline: str, project: ProjectConfig) -> str:
    """Return where a pipeline's cache lies: `cache.url`, or `.cache` beside the outputs on the project's storage.

    No pipeline's name begins with a dot, so that no run has its outputs there.
    """
    above = project.cache.url or f"{(project.storage_url or default_url(folder)).rstrip('/')}/.cache"
    return f"{above.rstrip('/')}/{pipeline}"


def _check_once(config: CacheConfig) -> None:
    seen: dict[str, str] = {}
    for behavior, name in _said(config):
        if name in seen:
            what = "all nodes" if name == _ALL else repr(name)
            raise UnknownNodeError(f"run.cache says both {seen[name]} and {behavior} for {what}.", "Choose one.")
        seen[name] = behavior


def _said(config: CacheConfig) -> Iterator[tuple[str, str]]:
    """Tell each behavior that is named, and for which node."""
    for behavior in _BEHAVIORS:
        chosen: bool | list[str] = getattr(config, behavior)
        names = chosen if isinstance(chosen, list) else [_ALL] if chosen else []
        yield from ((behavior, name) for name in names)


def _files(folder: Path, pipeline: str, project: ProjectConfig) -> CacheFiles:
    url = cache_url(folder, pipeline, project)
    same = urlsplit(url).scheme == urlsplit(project.storage_url or "file://").scheme
    options: dict[str, Any] = project.storage_options if same else {}
    return CacheFiles(url, options)
