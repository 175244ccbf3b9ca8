"""Where a path is measured: a fresh Mosquitto and a fresh Redis on loopback, in a folder that goes away."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

from support.servers import Broker, Redis, mosquitto, redis_server

TESTS: Final = Path(__file__).parents[1]
STARTS_WITHIN_S: Final = 60.0
STOPS_WITHIN_S: Final = 10.0


@dataclass(frozen=True)
class Place:
    """Servers that nobody has used yet."""

    broker: Broker
    redis: Redis
    folder: Path

    def pids(self) -> dict[str, int]:
        servers = {"mosquitto": self.broker.process, "redis": self.redis.process}
        return {name: process.pid for name, process in servers.items() if process is not None}

    def _environment(self) -> dict[str, str]:
        """Return what tells a child where things are."""
        return os.environ | {
            "PYTHONPATH": str(TESTS),
            "BENCH_MQTT_URL": self.broker.url,
            "BENCH_REDIS_URL": self.redis.url,
        }

    @contextlib.contextmanager
    def child(self, *arguments: str, says_ready: bool = True, python: str = sys.executable) -> Generator[int]:
        """Run a Python program beside us; yield its pid once it says `ready`, and stop it in the end."""
        log = self.folder / "children.log"
        output = subprocess.PIPE if says_ready else subprocess.DEVNULL
        with (
            log.open("ab") as errors,
            subprocess.Popen([python, *arguments], env=self._environment(), stdout=output, stderr=errors) as process,
        ):
            try:
                if process.stdout is not None:
                    waiting, _, _ = select.select([process.stdout], [], [], STARTS_WITHIN_S)
                    assert waiting, f"{arguments} is not ready after {STARTS_WITHIN_S} s"
                    assert process.stdout.readline() == b"ready\n", f"{arguments}: {log.read_text()[-3000:]}"
                yield process.pid
            finally:
                _stop(process)


@contextlib.contextmanager
def fresh_place() -> Generator[Place]:
    with tempfile.TemporaryDirectory(prefix="fpbus-bench-") as name:
        folder = Path(name)
        broker, redis = mosquitto(folder / "mosquitto"), redis_server(folder / "redis")
        try:
            yield Place(broker.start(), redis.start(), folder)
        finally:
            broker.stop()
            redis.stop()


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOPS_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()


@contextlib.contextmanager
def deadline(seconds: int) -> Generator[None]:
    """Raise `TimeoutError` in the middle of whatever takes longer, so that all that was started is stopped."""

    def expire(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
