"""Pages of the documentation: their blocks of code, done in order in one folder, as a reader would."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from support.waiting import wait_for

ROOT: Final = Path(__file__).parents[2]
_BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE: Final = re.compile(r"# ((?:conf|pipelines|hooks)/\S+\.(?:py|yml))\b")


class Block(NamedTuple):
    """A block of code: what it is written in, and the line of the page at which it begins."""

    language: str
    text: str
    line: int

    @property
    def file(self) -> str | None:
        """The file of a project that the block is, as its first line says."""
        found = _FILE.match(self.text)
        return found[1] if found else None


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [Block(found[1], found[2], text.count("\n", 0, found.start()) + 2) for found in _BLOCK.finditer(text)]


class Reader:
    """Does what a page says: writes its files, runs its Python in one namespace, and types its commands.

    What a command is said to print has to be what it prints; `...` stands for anything. `fpbus up` goes on running.
    """

    def __init__(self, folder: Path, **names: Any) -> None:
        self.folder = folder
        self.names = names
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("FPBUS_")}
        self.environment["PATH"] = f"{Path(sys.executable).parent}:{self.environment['PATH']}:/usr/sbin"
        self.up: subprocess.Popen[bytes] | None = None

    def do(self, block: Block) -> None:
        if block.file:
            path = self.folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        elif block.language == "python":
            exec(compile("\n" * (block.line - 1) + block.text, "<page>", "exec"), self.names)  # noqa: S102 (our own)
        elif block.language == "console":
            for command, expected in _commands(block.text):
                self.type(command, expected)

    def type(self, command: str, expected: str = "") -> None:
        """Type one command, and compare what it prints, if the page says so."""
        if command.startswith("cd "):
            self.folder /= command.removeprefix("cd ")
        elif command == "fpbus up":
            self._start()
        else:
            done = subprocess.run(  # noqa: S602 (a command as the page has it)
                command,
                shell=True,
                cwd=self.folder,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=120,
                check=False,
            )
            assert done.returncode == 0, f"$ {command}\n{done.stdout}"
            assert not expected or _pattern(expected).fullmatch(done.stdout), f"$ {command}\n{done.stdout}"

    def _start(self) -> None:
        log = self.folder / "up.log"
        with log.open("wb") as output:
            self.up = subprocess.Popen(
                ["fpbus", "up"],
                cwd=self.folder,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        wait_for(lambda: "\nready in" in log.read_text(), 60, "the system to come up")

    def close(self) -> None:
        if self.up is not None:
            self.up.terminate()
            self.up.wait(40)


def _commands(text: str) -> list[tuple[str, str]]:
    """Return each command behind a `$`, with the lines below it."""
    parts = re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]
    return [(part.partition("\n")[0].partition("  #")[0].strip(), part.partition("\n")[2]) for part in parts]


def _pattern(expected: str) -> re.Pattern[str]:
    lines = [re.escape(line.rstrip()).replace(re.escape("..."), ".*") for line in expected.rstrip().split("\n")]
    return re.compile(r"\s*\n".join("(?s:.*)" if line == ".*" else line for line in lines) + r"\s*")


def cells(page: Path, title: str) -> Mapping[str, str]:
    """Return the first cell and the default, the third, of each row of the tables below a title, down to the next.

    A row of several keys stands for each of them.
    """
    below = re.split(rf"^##+ {re.escape(title)}$", page.read_text(encoding="utf-8"), maxsplit=1, flags=re.MULTILINE)[1]
    section = re.split(r"^#", below, maxsplit=1, flags=re.MULTILINE)[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    return {key: row[2].strip() for row in rows for key in re.findall(r"`([^`]+)`", row[0])}
