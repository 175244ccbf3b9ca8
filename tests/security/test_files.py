"""What services write is for their owner alone, however generous the umask."""

import os
import stat
import uuid
from pathlib import Path

import pytest

from fpbus.edge import EdgePublisher
from support.commands import Commands
from support.device import Device
from support.stack import Stack


def _open_to_others(folder: Path) -> list[str]:
    """Return the files below a folder that others may read or write, as they can be reached."""
    found: list[str] = []
    for place, folders, files in os.walk(folder):
        if stat.S_IMODE(Path(place).stat().st_mode) & 0o077 == 0:
            folders.clear()  # nobody else gets in
            continue
        found += [name for file in files if (Path(name := f"{place}/{file}")).stat().st_mode & 0o077]
    return found
