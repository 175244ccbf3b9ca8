"""What is wrong in a file, as a value, and the error that tells of it."""

from msgspec import Struct

from .errors import ProjectError

#: The keys that lead to a value, the outermost first; items of a list are counted from "0".
Key = tuple[str, ...]
#: What is wrong at a key: the key, a sentence, and a hint what to do.
Complaint = tuple[Key, str, str | None]


class Fault(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something wrong in a file: where, at which key, what, and what to do. `file` is a path as it was opened.

    `variable` is the environment variable that is to blame; `file` is then the one that it lies over.
    """

    file: str
    line: int | None = None
    key: str = ""
    message: str
    hint: str | None = None
    variable: str | None = None

    def __str__(self) -> str:
        if self.variable:
            return self.message
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.message}"


class FaultError(ProjectError):
    """A file of the project is not right; `fault` says where."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault), fault.hint)
        self.fault = fault
