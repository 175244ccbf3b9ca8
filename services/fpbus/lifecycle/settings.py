"""Where things are: broker, Redis, databases, storage, project. Flags win over the environment, and that over all."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final

from fpbus.schemas import FpbusError

_ENVIRONMENT: Final = {
    "mqtt_url": "FPBUS_MQTT_URL",
    "redis_url": "FPBUS_REDIS_URL",
    "history_url": "FPBUS_HISTORY_URL",
    "schedules_url": "FPBUS_SCHEDULES_URL",
    "storage_url": "FPBUS_STORAGE_URL",
    "root": "FPBUS_ROOT",
    "project": "FPBUS_PROJECT",
    "instance": "FPBUS_INSTANCE",
    "log_level": "FPBUS_LOG_LEVEL",
    "log_format": "FPBUS_LOG_FORMAT",
}
_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_FORMATS: Final = ("console", "json")


class SettingsError(FpbusError):
    """A setting that cannot be used; the sentence names it."""


@dataclass(frozen=True)
class Settings:
    """What every process is told. None means: not set, so `fpbus up` starts its own."""

    mqtt_url: str | None = None
    redis_url: str | None = None
    history_url: str | None = None
    schedules_url: str | None = None
    storage_url: str | None = None
    root: str = ""
    project: str = "."
    instance: str = ""
    log_level: str = "INFO"
    log_format: str = "console"

    @classmethod
    def load(cls, below: Mapping[str, str] | None = None, **flags: str | None) -> "Settings":
        """Read the environment; a flag that is not None wins, and `below` is what holds without both.

        Raises `SettingsError` for a bad value.
        """
        named = {field.name: os.environ.get(_ENVIRONMENT[field.name]) for field in fields(cls)}
        named |= {name: value for name, value in flags.items() if value is not None}
        settings = cls(**{**(below or {}), **{name: value for name, value in named.items() if value}})
        settings = replace(
            settings,
            instance=settings.instance or socket.gethostname().split(".")[0],
            log_level=settings.log_level.upper(),
        )
        settings.check()
        return settings

    def check(self) -> None:
        """Raise `SettingsError` for a value that no process could use."""
        if self.log_level not in _LEVELS:
            raise SettingsError(f"FPBUS_LOG_LEVEL is {self.log_level!r}; it must be one of {', '.join(_LEVELS)}.")
        if self.log_format not in _FORMATS:
            raise SettingsError(f"FPBUS_LOG_FORMAT is {self.log_format!r}; it must be console or json.")
        if not self.instance.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise SettingsError(f"The instance name {self.instance!r} may hold letters, digits, '-', '_' and '.' only.")

    @property
    def project_dir(self) -> Path:
        return Path(self.project).absolute()

    def environment(self) -> dict[str, str]:
        """Return the variables that give a child process these settings."""
        return {variable: value for name, variable in _ENVIRONMENT.items() if (value := getattr(self, name))}

    def need(self, name: str) -> str:
        """Return the named URL; raise and name the variable when nobody set it."""
        value: str | None = getattr(self, name)
        if not value:
            raise SettingsError(
                f"{_ENVIRONMENT[name]} is not set.",
                "Set it, or let `fpbus up` start everything on this machine.",
            )
        return value
