"""Leaves a mark and kills the process that runs it, every time."""

import os
import signal
import time


def answer(x: int, marks: str) -> int:
    file = os.open(marks, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, f"begun {x} {os.getpid()} {time.time():.3f}\n".encode())
    os.close(file)
    os.kill(os.getpid(), signal.SIGKILL)
    return x
