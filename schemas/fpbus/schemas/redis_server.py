"""Which Redis servers fpbus works with."""

from collections.abc import Mapping
from typing import Any, Final

from .errors import FpbusError

_OLDEST: Final = 7  # scripts say there with flags what a full server may let them do


class RedisTooOldError(FpbusError):
    """The server does not know what our scripts need."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"The Redis server is {found}; fpbus needs Redis {_OLDEST}.0 or later, or any Valkey.",
            "Update it, or name another one in FPBUS_REDIS_URL. `fpbus up` without that starts its own.",
        )


def check_redis(info: Mapping[str, Any]) -> None:
    """Read a server's own `INFO server`; raise `RedisTooOldError` for one that is too old, or does not say."""
    if "valkey_version" in info or info.get("server_name") == "valkey":
        return
    version = str(info.get("redis_version", "of an unknown version"))
    major = version.partition(".")[0]
    if not major.isdigit() or int(major) < _OLDEST:
        raise RedisTooOldError(version)
