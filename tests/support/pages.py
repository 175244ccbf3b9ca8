"""Pages of the documentation: their blocks of code, done in order in one folder, as a reader would."""

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from support.commands import Commands
from support.waiting import wait_for

ROOT: Final = Path(__file__).parents[2]
_BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE: Final = re.compile(r"  # exit code (\d+)")
_ENDLESS: Final = re.compile(r"fpbus up\b|fpbus watch$|mosquitto_sub ")
_PLAIN: Final = re.compile(r"fpbus [^|&;<>$`*]*$")
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

    What a command is said to print has to be what it prints; `...` stands for anything. A command ends with 0, or with
    the code that a comment behind it says: `# exit code 4`. One that ends by Ctrl-C only goes on running; `said` holds
    where it prints. Commands that need no shell share the imports of `support.commands`, which is most of their time;
    a `whole` reader starts every one anew.
    """

    def __init__(self, folder: Path, **names: Any) -> None:
        self.folder = folder
        self.whole = False
        self.names = names
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("FPBUS_")}
        self.environment["PATH"] = f"{Path(sys.executable).parent}:{self.environment['PATH']}:/usr/sbin"
        self.said: dict[str, Path] = {}
        self._running: list[subprocess.Popen[bytes]] = []

    def do(self, block: Block) -> None:
        if block.file:
            path = self.folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        elif block.language == "python":
            self._run(block)
        elif block.language == "console":
            for each in commands_of(block.text):
                self.type(*each)

    def type(self, command: str, expected: str = "", code: int = 0) -> str:
        """Type one command, and compare what it prints, if the page says so; return that."""
        if command.startswith("cd "):
            self.folder /= command.removeprefix("cd ")
        elif _ENDLESS.match(command):
            self._start(command)
        else:
            ended, printed = self._fork(command) if _PLAIN.match(command) and not self.whole else self._shell(command)
            assert ended == code, f"$ {command}\nexit code {ended}\n{printed}"
            assert not expected or _pattern(expected).fullmatch(f"{printed}\n"), f"$ {command}\n{printed}"
            return printed
        return ""

    def _fork(self, command: str) -> tuple[int | None, str]:
        fpbus = Commands(self.folder)
        fpbus.environment = self.environment
        done = fpbus(*shlex.split(command)[1:], together=True)
        return done.code, done.out

    def _shell(self, command: str) -> tuple[int, str]:
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
        return done.returncode, done.stdout

    def _run(self, block: Block) -> None:
        """Run statements one by one; the value of one with a Python value as its comment has to be that value."""
        for statement in ast.parse("\n" * (block.line - 1) + block.text).body:
            expected = _comment(block, statement)
            if isinstance(statement, ast.Expr) and expected is not None:
                value = eval(compile(ast.Expression(statement.value), "<page>", "eval"), self.names)  # noqa: S307 (our own)
                assert value == expected, f"line {statement.lineno}: {value!r}"
            else:
                exec(compile(ast.Module([statement], []), "<page>", "exec"), self.names)  # noqa: S102 (our own)

    def _start(self, command: str) -> None:
        log = self.folder.parent / f"said-{len(self.said)}"
        self.said[command] = log
        with log.open("wb") as output:
            self._running.append(
                subprocess.Popen(
                    shlex.split(command),
                    cwd=self.folder,
                    env=self.environment,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            )
        if command.startswith("fpbus up"):
            wait_for(lambda: "\nready in" in log.read_text(), 60, "the system to come up")
            self._lead_to(log.read_text())

    def _lead_to(self, screen: str) -> None:
        """Have the tools of Mosquitto and RQ find what was started: a port that is taken is not the one."""
        (port,) = re.findall(r"broker .*mqtt://127.0.0.1:(\d+)", screen)
        (self.environment["FPBUS_REDIS_URL"],) = re.findall(r"redis .*(redis://\S+)", screen)
        self.environment["XDG_CONFIG_HOME"] = str(self.folder.parent)
        for tool in ("mosquitto_pub", "mosquitto_sub"):
            (self.folder.parent / tool).write_text(f"-h 127.0.0.1\n-p {port}\n")

    def close(self) -> None:
        for process in reversed(self._running):
            process.terminate()
            process.wait(40)


def commands_of(text: str) -> list[tuple[str, str, int]]:
    """Return each command behind a `$`, what is said to come of it, and its exit code."""
    parts = [part.partition("\n") for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]]
    return [
        (line.partition("  #")[0].strip(), expected, int(code[1]) if (code := _CODE.search(line)) else 0)
        for line, _, expected in parts
    ]


def _comment(block: Block, statement: ast.stmt) -> Any:
    line = block.text.splitlines()[(statement.end_lineno or 0) - block.line]
    try:
        return ast.literal_eval(line.partition("  # ")[2])
    except (ValueError, SyntaxError):
        return None


def _pattern(expected: str) -> re.Pattern[str]:
    """Match what is said to come line by line; a line `...` stands for any lines, also for none.

    How wide the columns of a table are depends on what else stands in them.
    """
    lines = [re.sub(r"(?:\\ ){2,}", " {2,}", re.escape(line.rstrip())) for line in expected.rstrip().split("\n")]
    parts = (r"(?:.*\n)*" if line == re.escape("...") else rf"{line}\s*?\n" for line in lines)
    return re.compile("".join(parts).replace(re.escape("..."), ".*") + r"\s*")


def cells(page: Path, title: str) -> Mapping[str, str]:
    """Return the first cell and the default, the third, of each row of the tables below a title, down to the next.

    A row of several keys stands for each of them.
    """
    below = re.split(rf"^##+ {re.escape(title)}$", page.read_text(encoding="utf-8"), maxsplit=1, flags=re.MULTILINE)[1]
    section = re.split(r"^#", below, maxsplit=1, flags=re.MULTILINE)[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    return {key: row[2].strip() for row in rows for key in re.findall(r"`([^`]+)`", row[0])}
