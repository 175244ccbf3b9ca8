"""Where in a user's own code something was raised."""

import traceback
from typing import Final

#: An exception that comes from another process has its traceback there as text.
REMOTE_TRACE: Final = "fpbus_remote_trace"


def user_trace(error: BaseException) -> str:
    """Return the traceback with the user's own lines only; empty where none of them was reached."""
    if remote := error.__dict__.get(REMOTE_TRACE):
        return str(remote)
    frames = traceback.extract_tb(error.__traceback__)
    users = [frame for frame in frames if not any(part in frame.filename for part in _NOT_THE_USERS)]
    if not users:
        return ""
    lines, last = traceback.format_list(users), traceback.format_exception_only(error)
    return "".join(["Traceback (most recent call last):\n", *lines, *last])


_NOT_THE_USERS: Final = ("/hamilton/", "/fpbus/", "/concurrent/futures/", "/asyncio/")
