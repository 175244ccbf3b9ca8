"""The process in which a project's codecs run: `python -m fpbus.triggers.codec_host FOLDER`."""

import os
import select
import sys
from pathlib import Path
from typing import Final

import msgspec

from .codec_frames import Answer, Asked, read_frame, write_frame
from .codecs import ProjectCodecs
from .verdicts import RefusedError

_LOOK_EVERY_S: Final = 1.0


def main(folder: Path) -> None:
    """Answer frames from standard input until it is closed. What codecs print goes to standard error."""
    answers = os.dup(1)
    os.dup2(2, 1)
    codecs = ProjectCodecs(folder)
    began = _newest(folder)
    write_frame(answers, b"ready")
    while True:
        while not select.select([0], [], [], _LOOK_EVERY_S)[0]:
            if _newest(folder) != began:
                return  # the next message starts a process with the new code
        try:
            asked = msgspec.json.decode(read_frame(0), type=Asked)
        except EOFError:
            return
        write_frame(answers, msgspec.json.encode(_answer(codecs, asked)))


def _answer(codecs: ProjectCodecs, asked: Asked) -> Answer:
    try:
        return Answer(codecs(asked.codec, asked.message))
    except RefusedError as refused:
        return Answer(refused=str(refused))


def _newest(folder: Path) -> tuple[int, float]:
    """Say whether code has changed: how many modules there are, and when one was last written."""
    times = [file.stat().st_mtime for file in folder.glob("**/*.py") if file.is_file()]
    return len(times), max(times, default=0.0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
