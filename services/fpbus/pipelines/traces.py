"""Where in a user's own code something was raised."""

import asyncio
import concurrent.futures
import os
import traceback
from pathlib import Path
from types import ModuleType
from typing import Final

import hamilton

#: An exception that comes from another process has its traceback there as text.
REMOTE_TRACE: Final = "fpbus_remote_trace"


def user_trace(error: BaseException) -> str:
    """Return the traceback with the user's own lines only; empty where none of them was reached."""
    if remote := error.__dict__.get(REMOTE_TRACE):
        return str(remote)
    frames = traceback.extract_tb(error.__traceback__)
    users = [frame for frame in frames if not frame.filename.startswith(_NOT_THE_USERS)]
    if not users:
        return ""
    lines, last = traceback.format_list(users), traceback.format_exception_only(error)
    return "".join(["Traceback (most recent call last):\n", *lines, *last])


def _folder_of(module: ModuleType) -> str:
    return f"{Path(module.__file__ or '').parent}{os.sep}"


#: Where the code between a caller and a node lies: Hamilton, our own packages beside this one, and how tasks are run.
_NOT_THE_USERS: Final = (
    *map(_folder_of, (hamilton, asyncio, concurrent.futures)),
    f"{Path(__file__).parents[1]}{os.sep}",
)
