"""Real servers for tests: child processes on loopback, on a free port each, in a folder of their own."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import pytest

from support.waiting import wait_for

_FIRST_PORT: Final = 10_000
_FIRST_CLIENT_PORT: Final = 32_768  # from here on Linux takes ports for connections


def free_port() -> int:
    """Return a port that stays free: the system gives it to no client, and no other worker of pytest-xdist takes it.

    A server that a test kills finds it again, too.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    while True:
        port = random.choice(range(_FIRST_PORT + worker, _FIRST_CLIENT_PORT, workers))
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def program(name: str) -> str:
    """Return the path of a server program; without it a test is skipped on a desk and fails in CI."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is not installed, and CI has to have it")
        pytest.skip(f"{name} is not installed")
    return found


@dataclass
class Server:
    """A server that can be killed and started again on the same port and folder."""

    command: list[str]
    port: int
    folder: Path
    process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    def start(self) -> Self:
        with (self.folder / f"{Path(self.command[0]).name}.log").open("ab") as output:
            self.process = subprocess.Popen(self.command, stdout=output, stderr=output)
        wait_for(self._listens, what=f"{self.command[0]} on port {self.port}")
        return self

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"{self.command[0]} ended with {self.process.returncode}"
        try:
            with socket.create_connection(("127.0.0.1", self.port), 0.3):
                return True
        except OSError:
            return False

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(10)

    def stop(self) -> None:
        self.kill(signal.SIGTERM)


@dataclass
class Broker(Server):
    """A broker; `url` is what fpbus is told."""

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"


@dataclass
class Redis(Server):
    """A Redis with its append-only file on."""

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"


def mosquitto(folder: Path, *, tuned: bool = True) -> Broker:
    """Return a Mosquitto as compose/ has it or, not `tuned`, as it is shipped: snapshots are rare, queues short."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "mosquitto.conf"
    text = (
        f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\nlog_type error\nset_tcp_nodelay true\n"
        f"persistence true\npersistence_location {folder}/\n"
    )
    if tuned:
        text += "autosave_interval 1\nautosave_on_changes false\nmax_queued_messages 0\nmax_inflight_messages 1000\n"
    config.write_text(text)
    return Broker([program("mosquitto"), "-c", str(config)], port, folder)


def amqtt(folder: Path) -> Broker:
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    return Broker([sys.executable, "-m", "fpbus.bus.embedded", str(port)], port, folder)


def redis_server(folder: Path) -> Redis:
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    command = [program("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    command += ["--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--loglevel", "warning"]
    return Redis(command, port, folder)
