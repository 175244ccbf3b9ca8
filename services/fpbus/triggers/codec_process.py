"""Codecs in a process of their own: a codec that hangs, crashes or eats memory ends there, and nobody else does.

The process is started when the first message needs it, and again when it has died, or the project's code has changed.
"""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from fpbus.schemas import RejectionCode

from .codec_frames import Answer, Asked, read_frame, write_frame
from .message import Message
from .verdicts import RefusedError

START_S: Final = 20.0


class CodecProcess:
    """Reads messages by a project's codecs. Used by one thread. `patience_s` is for one message."""

    def __init__(self, folder: Path, patience_s: float = 1.0) -> None:
        self._folder = folder
        self._patience_s = patience_s
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self, name: str, message: Message) -> Any:
        """Return what a codec reads; raise `RefusedError` for what it cannot read, or not in time."""
        process = self._process if self._process and self._process.poll() is None else self._start()
        try:
            answer = msgspec.json.decode(self._ask(process, msgspec.json.encode(Asked(name, message))), type=Answer)
        except (OSError, EOFError, msgspec.DecodeError):
            self.stop()
            raise _refused(f"The codec {name} took longer than {self._patience_s:g} s, or ended its process.") from None
        if answer.refused is not None:
            raise _refused(answer.refused)
        return answer.value

    def stop(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self) -> subprocess.Popen[bytes]:
        self.stop()
        command = [sys.executable, "-m", "fpbus.triggers.codec_host", str(self._folder)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, cwd=self._folder
        )
        assert self._process.stdout is not None
        try:
            read_frame(self._process.stdout.fileno(), time.monotonic() + START_S)  # it says that it is there
        except (OSError, EOFError):
            self.stop()
            raise _refused("The process of the project's codecs does not start.") from None
        return self._process

    def _ask(self, process: subprocess.Popen[bytes], frame: bytes) -> bytes:
        assert process.stdin is not None
        assert process.stdout is not None
        deadline = time.monotonic() + self._patience_s
        write_frame(process.stdin.fileno(), frame, deadline)
        return read_frame(process.stdout.fileno(), deadline)


def _refused(sentence: str) -> RefusedError:
    return RefusedError(RejectionCode.INVALID_PAYLOAD, sentence, "$")
