"""The command line in a process of its own for every command, yet without importing everything anew each time."""

import multiprocessing
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, NoReturn

_TIMEOUT_S = 60

# Each command is forked from a server that has imported what all of them need, and nothing of any project.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["fpbus.cli.main", "fpbus.pipelines"])


class Done(NamedTuple):
    """What a command left behind."""

    code: int | None
    out: str
    told: str


class Commands:
    """Types `fpbus` commands in a folder, where no settings of the developer's reach them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("FPBUS_")}

    def __call__(
        self, *arguments: str, stdin: str = "", environment: Mapping[str, str] | None = None, together: bool = False
    ) -> Done:
        """Type a command; `together` puts what it tells between what it puts out, as a terminal does."""
        with TemporaryDirectory() as name:
            place = Path(name)
            (place / "in").write_text(stdin)
            everything = {**self.environment, **(environment or {})}
            process = _processes.Process(target=_type, args=(arguments, self.folder, everything, place, together))
            process.start()
            process.join(_TIMEOUT_S)
            code = process.exitcode
            process.kill()
            return Done(code, (place / "out").read_text(), (place / "told").read_text())


def _type(
    arguments: tuple[str, ...],
    folder: Path,
    environment: dict[str, str],
    place: Path,
    together: bool,  # noqa: FBT001 (passed on)
) -> NoReturn:
    for number, (name, flags) in enumerate((("in", os.O_RDONLY), ("out", os.O_WRONLY), ("told", os.O_WRONLY))):
        os.dup2(os.open(place / name, flags | os.O_CREAT), number)
    if together:
        os.dup2(1, 2)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115 (of this process)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["fpbus", *arguments]
    from fpbus.cli.main import main

    main()
    raise AssertionError("a command ends by exiting")
