"""Put the settings together: flags win over the environment, and that over `conf/project.yml`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from zoneinfo import ZoneInfo

    from fpbus.lifecycle import Settings


def settings_of(project: str | None, *, instance: str | None = None) -> "Settings":
    """Return the settings of a command in the project at or above `project`, a folder or any fsspec URL.

    Where there is no project, what flags and environment say is all there is: a command that only speaks to the bus
    may be typed anywhere. Raises `ProjectError` for a project whose file cannot be read.
    """
    from fpbus.lifecycle import Settings
    from fpbus.project import ProjectError, find_project

    settings = Settings.load(project=project, instance=instance)
    below = {}
    if "://" in settings.project:
        from fpbus.project.remote import checkout, is_local

        start = checkout(settings.project)
        if not is_local(settings.project):  # each version is a folder of its own; outputs of all go to one place
            below = {"storage_url": f"{settings.project.rstrip('/')}/.fpbus/storage"}
    else:
        start = settings.project_dir
    try:
        folder = find_project(start)
    except ProjectError:
        return settings
    return Settings.load({**below, **_below(folder)}, project=str(folder), instance=instance)


def zone_of(project: str | None) -> "ZoneInfo":
    """Return where times without a zone count: the project's zone, or UTC where there is no project."""
    from zoneinfo import ZoneInfo

    from fpbus.project import ProjectError, find_project, load_project

    settings = settings_of(project)
    try:
        return ZoneInfo(load_project(find_project(settings.project_dir)).timezone)
    except (ProjectError, ValueError, OSError, KeyError):  # the services say what is wrong with a project's file
        return ZoneInfo("UTC")


def _below(folder: "Path") -> dict[str, str]:
    """Return what the project's file says of the settings."""
    from fpbus.lifecycle.settings import CREDENTIALS
    from fpbus.project import load_project

    config = load_project(folder)
    named = {
        "mqtt_url": config.mqtt_url,
        "redis_url": config.redis_url or config.job_queue.redis_url,
        "history_url": config.history_url,
        "schedules_url": config.schedules_url,
        "storage_url": config.storage_url,
        "root": config.root,
        "log_level": config.log_level,
        "log_format": config.log_format,
        "allow_insecure": "1" if config.allow_insecure else None,
        "allow_volatile": "1" if config.allow_volatile else None,
        **{name: getattr(config, name) for name in CREDENTIALS if not name.endswith("_file")},
        **{
            name: str(folder / path)
            for name in CREDENTIALS
            if name.endswith("_file") and (path := getattr(config, name))
        },
    }
    return {name: value for name, value in named.items() if value}
