"""Where things are: broker, Redis, databases, storage, project. Flags win over the environment, and that over all."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Final

from fpbus.bus import Credentials
from fpbus.schemas import FpbusError

_SERVERS: Final = ("mqtt", "redis")
_PARTS: Final = ("username", "password", "password_file", "ca_file", "cert_file", "key_file")
#: The settings that stand beside the two URLs.
CREDENTIALS: Final = tuple(f"{server}_{part}" for server in _SERVERS for part in _PARTS)
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
    "allow_insecure": "FPBUS_ALLOW_INSECURE",
    "allow_volatile": "FPBUS_ALLOW_VOLATILE",
    **{name: f"FPBUS_{name.upper()}" for name in CREDENTIALS},
}
_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_FORMATS: Final = ("console", "json")
_YES: Final = frozenset({"1", "true", "yes", "on"})
_NO: Final = frozenset({"", "0", "false", "no", "off"})


class SettingsError(FpbusError):
    """A setting that cannot be used; the sentence names it."""


@dataclass(frozen=True)
class Settings:
    """What every process is told. None means: not set, so `fpbus up` starts its own."""

    mqtt_url: str | None = field(default=None, repr=False)
    redis_url: str | None = field(default=None, repr=False)
    history_url: str | None = None
    schedules_url: str | None = None
    storage_url: str | None = None
    root: str = ""
    project: str = "."
    instance: str = ""
    log_level: str = "INFO"
    log_format: str = "console"
    allow_insecure: str = ""
    allow_volatile: str = ""
    mqtt_username: str | None = None
    mqtt_password: str | None = field(default=None, repr=False)
    mqtt_password_file: str | None = None
    mqtt_ca_file: str | None = None
    mqtt_cert_file: str | None = None
    mqtt_key_file: str | None = None
    redis_username: str | None = None
    redis_password: str | None = field(default=None, repr=False)
    redis_password_file: str | None = None
    redis_ca_file: str | None = None
    redis_cert_file: str | None = None
    redis_key_file: str | None = None

    @classmethod
    def load(cls, below: Mapping[str, str] | None = None, **flags: str | None) -> "Settings":
        """Read the environment; a flag that is not None wins, and `below` is what holds without both.

        Raises `SettingsError` for a bad value.
        """
        named = {each.name: os.environ.get(_ENVIRONMENT[each.name]) for each in fields(cls)}
        named |= {name: value for name, value in flags.items() if value is not None}
        told = {name: _whole(name, value) for name, value in named.items() if value}
        settings = cls(**{**_beside(below or {}, told), **told})
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

        for name in ("allow_insecure", "allow_volatile"):
            if (value := getattr(self, name)).lower() not in _YES | _NO:
                raise SettingsError(f"{_ENVIRONMENT[name]} is {value!r}; it must be 1 or 0.")

    @property
    def insecure_allowed(self) -> bool:
        """May broker and Redis be on another machine without TLS or without a login."""
        return self.allow_insecure.lower() in _YES

    @property
    def volatile_allowed(self) -> bool:
        """May Redis keep what it has in memory only."""
        return self.allow_volatile.lower() in _YES

    def credentials(self, server: str) -> Credentials:
        """Return what opens the door of `mqtt` or `redis`, beside what its URL says."""
        given = {part: getattr(self, f"{server}_{part}") for part in _PARTS}
        return Credentials(prefix=f"FPBUS_{server.upper()}", **given)

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


def _whole(name: str, value: str) -> str:
    """Make the path of a file hold wherever a child process runs."""
    return str(Path(value).absolute()) if name.endswith("_file") else value


def _beside(below: Mapping[str, str], told: Mapping[str, str]) -> dict[str, str]:
    """Return what holds below: credentials are for the server that they stand beside, and never sent to another."""
    hidden = {name for name in CREDENTIALS if f"{name.partition('_')[0]}_url" in told}
    for server in _SERVERS:
        passwords = {f"{server}_password", f"{server}_password_file"}
        hidden |= passwords if passwords & told.keys() else set()
    return {name: value for name, value in below.items() if name not in hidden}
