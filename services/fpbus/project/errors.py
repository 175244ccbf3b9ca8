"""What can be wrong with a project."""

import difflib
from collections.abc import Iterable

from fpbus.schemas import FpbusError


class ProjectError(FpbusError):
    """A project, or one of its files, is not right."""


class UnknownPipelineError(FpbusError):
    """A name that is no pipeline of the project."""

    exit_code = 4

    def __init__(self, name: str, known: list[str], hint: str | None = None) -> None:
        super().__init__(f"No pipeline named {name[:80]!r} in this project.", hint or guess(name, known))


def guess(name: str, known: Iterable[str]) -> str:
    """Say which of the known names may be meant."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, 1)
    return f"Did you mean {close[0]!r}?" if close else f"It has: {', '.join(names) or 'none'}."
