"""`fpbus pipeline run` before a person: a terminal, and Ctrl-C."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.commands import Commands

GATED = """
import logging
import os
import time
from pathlib import Path


def first(gate: str) -> str:
    print("first runs")
    logging.getLogger("gated").info("first logs")
    while not os.path.exists(gate):
        time.sleep(0.01)
    return gate


def second(first: str) -> str:
    print("second runs")
    return first
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    assert Commands(tmp_path)("init", "--name", "p", "--bare").code == 0
    folder = tmp_path / "p"
    (folder / "pipelines" / "gated.py").write_text(GATED)
    (folder / "conf" / "pipelines" / "gated.yml").write_text(f"run:\n  inputs: {{gate: {tmp_path}/gate}}\n")
    return folder


class Terminal:
    """A command with a terminal of its own, and what stands on it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        environment = Commands(folder).environment | {"TERM": "xterm", "COLUMNS": "100"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fpbus", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        os.close(theirs)
        self.text = ""

    def read_until(self, pattern: str, timeout_s: float = 60) -> None:
        while not re.search(pattern, self.text):
            ready, _, _ = select.select([self._ours], [], [], timeout_s)
            assert ready, f"{pattern!r} is not in {self.text!r}"
            self.text += os.read(self._ours, 65536).decode()

    def read_to_the_end(self) -> str:
        try:
            while chunk := os.read(self._ours, 65536):
                self.text += chunk.decode()
        except OSError:  # how a terminal says that its other side is gone
            pass
        return self.text

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.fixture
def gated(project: Path) -> Iterator[Terminal]:
    terminal = Terminal(project, "pipeline", "run", "gated")
    yield terminal
    terminal.end()


def test_a_long_run_shows_a_bar_that_is_gone_in_the_end(gated: Terminal, tmp_path: Path) -> None:
    gated.read_until(r"gated.*0/2.*first")
    (tmp_path / "gate").touch()
    text = gated.read_to_the_end()

    assert gated.process.wait(30) == 0
    assert "first runs" in text
    assert "first logs" in text
    assert "second runs" in text
    assert text.rindex("2/2") < text.index("gated succeeded: 2 nodes")
    assert "\x1b[2K" in text[text.rindex("2/2") : text.index("gated succeeded")]  # the bar's line is cleared


def test_a_quiet_run_shows_no_bar(project: Path, tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    terminal = Terminal(project, "pipeline", "run", "gated", "--quiet", "--log-level", "error")

    text = terminal.read_to_the_end()
    terminal.end()

    assert "succeeded" not in text
    assert "0/2" not in text
    assert f"{tmp_path}/gate" in text


def test_ctrl_c_ends_a_run_with_130(gated: Terminal) -> None:
    gated.read_until("first runs")
    os.killpg(gated.process.pid, signal.SIGINT)
    text = gated.read_to_the_end()

    assert gated.process.wait(30) == 130
    assert "Traceback" not in text
    assert "succeeded" not in text


def test_no_bar_where_nobody_looks(project: Path, tmp_path: Path) -> None:
    (tmp_path / "gate").touch()

    done = Commands(project)("pipeline", "run", "gated")

    assert done.code == 0
    assert "\x1b" not in done.out + done.told


def test_no_colours_when_they_are_not_wanted(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal(project, "pipeline", "show-summary")

    text = terminal.read_to_the_end()
    terminal.end()

    assert "gated" in text
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", text)
