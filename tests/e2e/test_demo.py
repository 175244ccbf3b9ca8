"""`fpbus demo`, as `make demo` runs it: it agrees with itself, ends by itself, and leaves nothing."""

import ast
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from support.waiting import wait_for

DEMO = [sys.executable, "-P", "-m", "fpbus", "demo"]
DEVICE = Path(__file__).parents[2] / "services/fpbus/cli/demo/project/device.py"


class Demo(NamedTuple):
    """A demo that has ended; its project was somewhere in `folder`."""

    code: int
    out: str
    told: str
    folder: Path

    def figure(self, name: str) -> int:
        """Return a count of the summary."""
        found = re.search(rf"^  {name} +(\d+)  ", self.out, re.MULTILINE)
        assert found, self.out
        return int(found[1])


def environment(folder: Path) -> dict[str, str]:
    """Put the project into `folder`, and name a bus that the demo must not touch: nobody is there."""
    return os.environ | {
        "TMPDIR": str(folder),
        "FPBUS_MQTT_URL": "mqtt://127.0.0.1:1",
        "FPBUS_ROOT": "somewhere/else",
        "COLUMNS": "80",
    }


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of all processes that name something in `folder`."""
    lines: list[str] = []
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
        except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
            continue
        if str(folder) in line:
            lines.append(line)
    return lines


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("demo")
    done = subprocess.run(DEMO, env=environment(folder), capture_output=True, text=True, timeout=60, check=False)
    return Demo(done.returncode, done.stdout, done.stderr, folder)


@pytest.fixture
def running(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Start a demo that is in the middle of its messages."""
    process = subprocess.Popen(DEMO, env=environment(tmp_path), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("3. "):
            break
    yield process
    process.kill()
    process.wait(10)
    process.stdout.close()


def test_everything_agrees(demo: Demo) -> None:
    assert (demo.code, demo.told) == (0, ""), demo.out
    assert "Everything agrees" in demo.out


def test_the_figures_of_the_summary_fit_each_other(demo: Demo) -> None:
    assert demo.figure("messages") == demo.figure("accepted") + demo.figure("rejected") == 41
    assert demo.figure("rejected") == 1
    assert demo.figure("accepted") == demo.figure("succeeded") == demo.figure("remembered")
    assert f"the device got {demo.figure('succeeded')}\n" in demo.out
    assert demo.figure("scheduled") >= 1


def test_each_good_message_has_a_line_with_its_result_and_the_wrong_one_names_the_field(demo: Demo) -> None:
    rows = re.findall(r"^  2013-\d\d-\d\d .* \d+ ms +6 +\d+ ms$", demo.out, re.MULTILINE)

    assert len(rows) == 40
    assert re.search(r"^  2013-06-30 REJECTED, field \$\.input: ", demo.out, re.MULTILINE)


def test_outside_a_terminal_there_are_no_colours(demo: Demo) -> None:
    assert "\x1b" not in demo.out


def test_it_leaves_no_process_and_no_file(demo: Demo) -> None:
    assert processes_of(demo.folder) == []
    assert list(demo.folder.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_no_process_and_no_file_either(
    running: "subprocess.Popen[str]", tmp_path: Path, number: signal.Signals
) -> None:
    assert processes_of(tmp_path) != []

    running.send_signal(number)
    running.communicate(timeout=40)

    assert running.returncode == 130
    wait_for(lambda: not processes_of(tmp_path), what="the end of all processes")
    assert list(tmp_path.iterdir()) == []


def test_the_device_uses_none_of_our_code() -> None:
    tree = ast.parse(DEVICE.read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}

    foreign = {name for name in imported if name.split(".")[0] not in sys.stdlib_module_names}

    assert foreign == {"paho.mqtt.client", "paho.mqtt.enums"}
