"""What is wrong inside a pipeline, with the lines of the project's own files and no others."""

import traceback
from pathlib import Path
from typing import Final

_MOST_FRAMES: Final = 12
_MOST_CHARS: Final = 500


def own_trace(error: BaseException, folder: Path) -> str:
    """Return the traceback with the frames inside `folder`, the last ones of them; empty where there are none."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_own(frame.filename, folder)]
    if not frames and not isinstance(error, SyntaxError):
        return ""
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(frames[-_MOST_FRAMES:])]
    last = "".join(traceback.format_exception_only(error)) if isinstance(error, SyntaxError) else ""
    return "".join([*(lines if frames else []), last]).rstrip()


def last_own_line(error: BaseException) -> str:
    """Return the last line of code on the way to an error that is neither Python's, a package's nor ours."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_nobody_elses(frame.filename)]
    return "".join(traceback.format_list(own[-1:])).rstrip()


def in_short(error: BaseException, text: str | None = None) -> str:
    """Name the exception and what it says, of which a long text is cut."""
    said = str(error) if text is None else text
    if len(said) > _MOST_CHARS:
        said = f"{said[:_MOST_CHARS]} ... ({len(said)} characters)"
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _is_nobody_elses(filename: str) -> bool:
    path = Path(filename)
    libraries = (Path(traceback.__file__).parent, Path(__file__).parents[2])
    return path.is_absolute() and "site-packages" not in path.parts and not any(map(path.is_relative_to, libraries))


def _is_own(filename: str, folder: Path) -> bool:
    path = Path(filename)
    return path.is_relative_to(folder) and "site-packages" not in path.parts
