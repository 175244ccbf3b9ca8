"""What the demo starts: a new project, `fpbus up` in it, and a device. Each is gone at the end of its `with` block."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Generator
from pathlib import Path
from types import FrameType
from typing import Final

import msgspec

from fpbus.project import make_project
from fpbus.schemas import FpbusError
from fpbus.supervisor import Running, running

DATA: Final = "seattle-weather.csv"
YEAR: Final = "2013"

_HERE: Final = Path(__file__).parent
_GRACE_S: Final = 15.0
_LAST_WORDS: Final = 12


class DidNotStartError(FpbusError):
    """`fpbus up` ended before everything worked; what it said last is in the sentence."""

    def __init__(self, words: list[str]) -> None:
        super().__init__("`fpbus up` ended before everything worked:" + "".join(f"\n  {line}" for line in words))


class DeviceReport(msgspec.Struct, frozen=True):
    """What the device says of itself: counts, and its own measure of message to result."""

    published: int
    results: int
    rejections: int
    p50_ms: float
    p95_ms: float


@contextlib.contextmanager
def ended_by_signals() -> Generator[None]:
    """Have the first signal to stop end the block as Ctrl-C does; later ones must not disturb the tidying up."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def demo_project(*, keep: bool) -> Generator[Path]:
    """Make a project in a new temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="fpbus-demo-"))
    try:
        make_project(folder, "demo")
        shutil.copytree(_HERE / "project", folder, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        shutil.copy(_HERE / DATA, folder)
        yield folder
    finally:
        if not keep:
            shutil.rmtree(folder)


@contextlib.contextmanager
def up(folder: Path) -> Generator[Running]:
    """Run `fpbus up` for the project, and say what it runs. Raises `DidNotStartError`."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "fpbus", "up", "--schedule", "--project", str(folder)],
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        _wait_ready(process)
        system = running(folder)
        assert system is not None
        yield system
    finally:
        _stop(process)


@contextlib.contextmanager
def device(folder: Path, url: str) -> Generator["subprocess.Popen[str]"]:
    """Run the device, in its own process, with nothing but the broker's address and the measurements."""
    process = subprocess.Popen(
        [sys.executable, str(folder / "device.py"), url, str(folder / DATA), YEAR],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        _stop(process)


def read_report(process: "subprocess.Popen[str]") -> DeviceReport | str:
    """Return the report of a device that has ended, or what it said instead."""
    if process.poll() is None:
        return "nothing; it has not ended."
    assert process.stdout is not None
    said = process.stdout.read()
    try:
        return msgspec.json.decode(said, type=DeviceReport)
    except msgspec.DecodeError:
        return said.strip()


def _environment() -> dict[str, str]:
    """Without the settings of the person's own bus: the demo must not touch it."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("FPBUS_")}
    return own | {"FPBUS_INSTANCE": "demo"}


def _wait_ready(process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    last_words: deque[str] = deque(maxlen=_LAST_WORDS)
    for line in process.stdout:
        if line.startswith("ready in "):
            return
        last_words.append(line.rstrip())
    raise DidNotStartError(list(last_words))


def _stop(process: "subprocess.Popen[str]") -> None:
    """End a process as Ctrl-C would, and wait. Asked again, `fpbus up` kills what is left."""
    while process.poll() is None:
        # Ctrl-C now is for `fpbus up`, which hears it from the terminal as we do.
        with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            process.terminate()
            process.wait(_GRACE_S)
    assert process.stdout is not None
    process.stdout.close()
