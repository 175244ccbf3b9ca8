"""The base of every error that fpbus raises on purpose."""

from typing import ClassVar


class FpbusError(Exception):
    """Something that a person can act on: a sentence that says what is wrong, and a hint what to do.

    `exit_code` is what the command line returns (see the table in the README).
    """

    exit_code: ClassVar[int] = 8

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint
