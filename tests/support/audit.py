"""Writes down what a process imports, opens, spawns and connects, one file for each process.

A folder with this as its `sitecustomize` on PYTHONPATH has every Python process below it watched.
"""

from pathlib import Path
from typing import Final

_SITE: Final = """
import os, sys

WATCHED = ("import", "open", "exec", "compile", "pickle.", "marshal.", "subprocess.", "os.", "socket.", "ctypes.",
    "shutil.", "glob.", "pty.", "tempfile.", "code.", "urllib.", "http.", "sqlite3.")
# A loaded module's code passes through `exec` as well, which its import tells of already.
QUIET = ("marshal.loads", "socket.__new__")

def note(event, arguments):
    if event.startswith(WATCHED) and event not in QUIET:
        line = f"{event} {arguments[:1]!r}"[:300].replace("\\n", " ")
        os.write(FILE, (line + "\\n").encode("utf-8", "replace"))

FILE = os.open(f"{os.environ['AUDIT_FOLDER']}/{os.getpid()}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
sys.addaudithook(note)
"""


class Audit:
    """Processes started with `environment` are watched."""

    def __init__(self, folder: Path) -> None:
        self._notes = folder / "notes"
        self._notes.mkdir(parents=True)
        (folder / "sitecustomize.py").write_text(_SITE)
        self.environment = {"PYTHONPATH": str(folder), "AUDIT_FOLDER": str(self._notes)}

    def events(self, pid: int) -> list[str]:
        """Return what a process has done so far, oldest first."""
        return (self._notes / str(pid)).read_text().splitlines()

    def processes(self) -> set[str]:
        """Return the ids of all watched processes that ever were."""
        return {path.name for path in self._notes.iterdir()}
