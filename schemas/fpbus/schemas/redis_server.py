"""Which Redis servers fpbus works with: new enough, forgetting nothing, and with nobody else's jobs in our queues."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from .errors import FpbusError
from .queue import ForeignJobError, read_job_data

_OLDEST: Final = 7  # scripts say there with flags what a full server may let them do
_KEEPS_ALL: Final = "noeviction"


class RedisUnfitError(FpbusError):
    """A server on which runs would be lost, or could not be made at all."""


class RedisTooOldError(RedisUnfitError):
    """The server does not know what our scripts need."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"The Redis server is {found}; fpbus needs Redis {_OLDEST}.0 or later, or any Valkey.",
            "Update it, or name another one in FPBUS_REDIS_URL. `fpbus up` without that starts its own.",
        )


class RedisEvictsError(RedisUnfitError):
    """The server throws keys away when its memory is full."""

    def __init__(self, policy: str) -> None:
        super().__init__(
            f"The Redis server has maxmemory-policy {policy}: with its memory full it would throw away runs that "
            "wait, and say nothing.",
            f"Set `maxmemory-policy {_KEEPS_ALL}` in its redis.conf, or now: redis-cli config set maxmemory-policy "
            f"{_KEEPS_ALL}.",
        )


class RedisVolatileError(RedisUnfitError):
    """The server writes nothing to disk as it goes."""

    def __init__(self) -> None:
        super().__init__(
            "The Redis server has appendonly no: all accepted runs would be lost when it restarts.",
            "Set `appendonly yes` in its redis.conf, or now: redis-cli config set appendonly yes. If runs may be lost, "
            "say `allow_volatile: true` in conf/project.yml, or FPBUS_ALLOW_VOLATILE=1.",
        )


class ForeignQueueError(RedisUnfitError):
    """Another program puts its jobs into the queues that we would take them from."""

    def __init__(self, queue: str, job: str, reason: str) -> None:
        super().__init__(
            f"The queue {queue!r} in Redis holds the job {job[:80]!r}, which is none of fpbus: {reason}",
            "Give fpbus a database of its own in FPBUS_REDIS_URL, such as redis://host:6379/1. If nobody misses the "
            f"jobs, `rq empty {queue}` removes them.",
        )


def check_redis(info: Mapping[str, Any], *, allow_volatile: bool = False) -> None:
    """Read a server's own `INFO`; raise `RedisUnfitError` for one that is too old, evicts, or keeps nothing.

    What a server does not say is not held against it, save its version.
    """
    _check_version(info)
    policy = str(info.get("maxmemory_policy", _KEEPS_ALL))
    if policy != _KEEPS_ALL:
        raise RedisEvictsError(policy)
    if not allow_volatile and str(info.get("aof_enabled", 1)) == "0":
        raise RedisVolatileError


def _check_version(info: Mapping[str, Any]) -> None:
    if "valkey_version" in info or info.get("server_name") == "valkey":
        return
    version = str(info.get("redis_version", "of an unknown version"))
    major = version.partition(".")[0]
    if not major.isdigit() or int(major) < _OLDEST:
        raise RedisTooOldError(version)


def check_jobs(queue: str, jobs: Iterable[tuple[str, bytes | None]]) -> None:
    """Look at ids and data of jobs that wait, and unpack nothing; raise `ForeignQueueError` for one of others.

    A job without data is one that has gone meanwhile.
    """
    for run_id, data in jobs:
        try:
            if data is not None:
                read_job_data(data)
        except ForeignJobError as error:
            raise ForeignQueueError(queue, run_id, str(error)) from error
