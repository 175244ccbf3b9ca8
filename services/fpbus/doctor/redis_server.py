"""What Redis is set to do, how much room it has, and whether our users may do their work. Nothing is written."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError, ResponseError
from redis.retry import Retry

from fpbus.lifecycle import Settings, check_redis_server, redis_of, redis_refusal
from fpbus.schemas import FpbusError
from fpbus.schemas.redis_server import RedisUnfitError

from .findings import Finding, Status

_PINGS: Final = 20
_SLOW_MS: Final = 10.0
_CLOCK_S: Final = 2.0
_NARROW: Final = 0.8
_FULL: Final = 0.95
_LOSSES: Final = {
    "always": "a power cut loses nothing that was accepted",
    "everysec": "a power cut can lose the last second or two",
    "no": "a power cut can lose half a minute",
}
_MEMBER: Final = "fpbus-doctor"  # no run has such an id


class RedisSeen(Struct, frozen=True, kw_only=True):
    """All that was found; the rest is None when Redis did not say it."""

    findings: list[Finding]
    appends: bool | None = None
    fsync: str | None = None
    evicts: bool | None = None


def look_at_redis(settings: Settings, keys: Sequence[str], note: Callable[[str], None]) -> RedisSeen:
    """Look at everything; the findings say what was wrong. `keys` are those that our user has to be able to write."""
    note("redis: connecting")
    try:
        address = redis_of(settings)
    except FpbusError as error:
        return RedisSeen(findings=[_fault("connection", str(error), error.hint)])
    client: Any = Redis.from_url(
        address.url, socket_timeout=3.0, socket_connect_timeout=2.0, retry=Retry(NoBackoff(), 0), **address.options
    )
    try:
        return _look(client, address.url.partition("?")[0], settings, keys)
    except FpbusError as error:
        return RedisSeen(findings=[_fault("connection", str(error), error.hint)])
    except RedisError as error:
        refusal = redis_refusal(error, address.url)
        message = str(refusal or f"No connection to {address.url.partition('?')[0]}: {error}.".replace("..", "."))
        hint = (
            refusal.hint if refusal else "Is a Redis running there? FPBUS_REDIS_URL says where; `fpbus up` starts one."
        )
        return RedisSeen(findings=[_fault("connection", message, hint)])
    finally:
        client.close()


def _look(client: Any, url: str, settings: Settings, keys: Sequence[str]) -> RedisSeen:
    client.ping()
    found = [_found("connection", "ok", f"{url} is there.")]
    try:
        info: Mapping[str, Any] = client.info()
    except NoPermissionError:
        message = "This user may not ask for INFO: version, policy, append-only file and memory were not looked at."
        return RedisSeen(findings=[*found, _found("settings", "skipped", message), *_speed_and_rights(client, keys)])
    fsync = _fsync(client)
    found += [
        _fitness(client, url, settings),
        _append_only_file(info, fsync),
        _memory(info),
        *_speed_and_rights(client, keys),
    ]
    return RedisSeen(
        findings=found,
        appends=_flag(info, "aof_enabled"),
        fsync=fsync,
        evicts=None if "maxmemory_policy" not in info else info["maxmemory_policy"] != "noeviction",
    )


def _found(name: str, status: Status, message: str, remedy: str | None = None) -> Finding:
    return Finding(area="redis", name=name, status=status, message=message, remedy=remedy)


def _fault(name: str, message: str, remedy: str | None) -> Finding:
    return _found(name, "fault", message, remedy)


def _fitness(client: Any, url: str, settings: Settings) -> Finding:
    """Do what the services do when they start, and would refuse."""
    try:
        check_redis_server(client, url, allow_volatile=settings.volatile_allowed)
    except RedisUnfitError as error:
        return _fault("settings", str(error), error.hint)
    info = client.info()
    if info.get("role", "master") != "master":
        message = "This Redis is a copy of another one, and takes no runs."
        return _fault("settings", message, "Name the one that it copies, in FPBUS_REDIS_URL.")
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info.get("redis_version")
    return _found("settings", "ok", f"{name} {version} forgets nothing that waits.")


def _flag(info: Mapping[str, Any], name: str) -> bool | None:
    return None if name not in info else str(info[name]) == "1"


def _fsync(client: Any) -> str | None:
    """Return `appendfsync`; None where nobody may ask."""
    try:
        return dict(client.config_get("appendfsync")).get("appendfsync")
    except ResponseError:  # not allowed, or no such command: hosts that rent Redis out take it away
        return None


def _append_only_file(info: Mapping[str, Any], fsync: str | None) -> Finding:
    name = "append-only file"
    if _flag(info, "aof_enabled") is None:
        return _found(name, "skipped", "Redis does not say whether it has one.")
    if not _flag(info, "aof_enabled"):
        return _found(name, "warning", "Redis has none; all accepted runs are lost when it restarts.")
    if info.get("aof_last_write_status") == "err":
        hint = "Look at the disk where Redis keeps its files, and at its log."
        return _fault(name, "Redis could not write it the last time; it takes no runs then.", hint)
    if fsync not in _LOSSES:
        return _found(name, "ok", "It is on; this user may not ask for `appendfsync`.")
    remedy = "Set `appendfsync everysec`, or `always`." if fsync == "no" else None
    return _found(name, "warning" if remedy else "ok", f"appendfsync {fsync}: {_LOSSES[fsync]}.", remedy)


def _memory(info: Mapping[str, Any]) -> Finding:
    used = int(info.get("used_memory", 0))
    most = int(info.get("maxmemory", 0)) or int(info.get("total_system_memory", 0))
    if not most:
        return _found("memory", "skipped", "Redis does not say how much memory it may use.")
    share, whose = used / most, "its maxmemory" if info.get("maxmemory") else "the machine's memory"
    message = f"Redis uses {used / 2**20:,.0f} of {most / 2**20:,.0f} MiB of {whose}."
    remedy = "Raise `maxmemory`, add workers, or lower `limits.dedup_window_s`."
    if share > _FULL:
        return _fault("memory", f"{message} Full, it takes no more runs.", remedy)
    if share > _NARROW:
        return _found("memory", "warning", message, remedy)
    return _found("memory", "ok", message)


def _speed_and_rights(client: Any, keys: Sequence[str]) -> list[Finding]:
    return [_latency(client), _clock(client), _rights(client, keys)]


def _latency(client: Any) -> Finding:
    took: list[float] = []
    for _ in range(_PINGS):
        began = time.perf_counter()
        client.ping()
        took.append((time.perf_counter() - began) * 1000)
        if sum(took) > 1000:
            break
    middle = sorted(took)[len(took) // 2]
    message = f"An answer takes {middle:.2f} ms."
    if middle > _SLOW_MS:
        return _found(
            "latency", "warning", message, "Run dispatcher and runners nearer to Redis; each run asks it a few times."
        )
    return _found("latency", "ok", message)


def _clock(client: Any) -> Finding:
    before = time.time()
    try:
        seconds, micros = client.time()
    except NoPermissionError:
        return _found("clock", "skipped", "This user may not ask for TIME.")
    skew = seconds + micros / 1e6 - (before + time.time()) / 2
    if abs(skew) > _CLOCK_S:
        way = "ahead of" if skew > 0 else "behind"
        message = f"The clock of Redis is {abs(skew):.1f} s {way} this machine's: delayed runs start at other times."
        return _found("clock", "warning", message, "Have both machines set their clocks by NTP.")
    return _found("clock", "ok", f"The clocks are {abs(skew) * 1000:.0f} ms apart.")


def _rights(client: Any, keys: Sequence[str]) -> Finding:
    """Take away, from each key, what nobody has put there: allowed or not, it changes nothing."""
    denied = [key for key in keys if not _allowed(client, "ZREM", key.replace("*", _MEMBER), _MEMBER)]
    if not _allowed(client, "EVALSHA", "0" * 40, 0):
        denied.append("EVALSHA")
    if denied:
        message = f"This user may not use {', '.join(denied)} in Redis."
        return _fault(
            "rights",
            message,
            "`fpbus acl` writes the rights of both users; FPBUS_REDIS_USERNAME says which one this is.",
        )
    return _found("rights", "ok", "This user may write the keys of fpbus, and run scripts.")


def _allowed(client: Any, *command: Any) -> bool:
    try:
        client.execute_command(*command)
    except NoPermissionError:
        return False
    except ResponseError:  # a key of another type, no such script: we got as far as that
        return True
    return True
