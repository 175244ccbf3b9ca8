"""End with the parent. A work-horse whose worker was killed would otherwise run on, unseen and unleased."""

import fcntl
import os
import signal
import sys
import threading
from multiprocessing.connection import Connection


def die_with(parent: Connection) -> None:
    """Kill this process when the other end of `parent` is closed, which the kernel does when the parent dies.

    On Linux the kernel sends SIGKILL itself, also into C code that holds the interpreter; elsewhere a thread watches.
    """
    if sys.platform == "linux":
        descriptor = parent.fileno()
        fcntl.fcntl(descriptor, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_ASYNC)
        if parent.poll():  # it was gone before we asked
            os.kill(os.getpid(), signal.SIGKILL)
        return
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: Connection) -> None:
    parent.poll(None)
    os.kill(os.getpid(), signal.SIGKILL)
