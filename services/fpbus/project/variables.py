"""`${VAR}` in the texts of a file, filled in from the environment.

What is filled in is a value and never YAML: it cannot add keys, whatever it holds.
"""

import os
import re
from typing import Any, Final

from .faults import Complaint, Key
from .kinds import fits, kind_at
from .yaml_reader import Document, has_leading_zero, scalar

#: A default may hold variables, too, and text in braces.
_VARIABLE: Final = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<how>:?[-?])(?P<word>(?:[^{}]|\{[^{}]*\})*))?\}"
    r"|(?P<open>\{))"
)


def fill_in(document: Document, kind: Any = Any) -> tuple[Any, list[Complaint]]:
    """Fill in `${VAR}`, `${VAR-x}`, `${VAR:-x}`, `${VAR?text}`, `${VAR:?text}` and `$$`, which is one `$`.

    With a colon an empty variable counts as unset. A value that is one variable and stands without quotes is read as
    YAML reads a value there, if what `kind` has at that key can be that: `${PORT}` becomes a number, and a password
    stays text though it has digits only. Returns what could not be filled in beside the values.
    """
    filling = _Filling(document, kind)
    return filling.fill(document.value, ()), filling.complaints


class _Filling:
    def __init__(self, document: Document, kind: Any) -> None:
        self.complaints: list[Complaint] = []
        self._document = document
        self._kind = kind

    def fill(self, value: Any, key: Key) -> Any:
        if isinstance(value, dict):
            return {name: self.fill(item, (*key, name)) for name, item in value.items()}
        if isinstance(value, list):
            return [self.fill(item, (*key, str(number))) for number, item in enumerate(value)]
        return self._fill_text(value, key) if isinstance(value, str) and "$" in value else value

    def _fill_text(self, text: str, key: Key) -> Any:
        whole = _VARIABLE.fullmatch(text)
        filled = self._replace(text, key)
        if whole and whole["name"] and key in self._document.unquoted:
            return _reading(filled, kind_at(self._kind, key))
        return filled

    def _replace(self, text: str, key: Key) -> str:
        return _VARIABLE.sub(lambda found: self._text_of(found, key), text)

    def _text_of(self, found: re.Match[str], key: Key) -> str:
        if found["dollar"]:
            return "$"
        if found["open"]:
            hint = "Write ${NAME}, ${NAME:-default} or ${NAME:?message}; $${ is the text ${."
            self.complaints.append((key, f"`{'.'.join(key)}` holds a ${{ that no variable follows.", hint))
            return found[0]
        text, how = os.environ.get(found["name"]), found["how"] or ""
        if text is not None and (text or not how.startswith(":")):
            return text
        word = self._replace(found["word"] or "", key)
        if not how.endswith("-"):
            self._miss(found["name"], word, key)
        return word

    def _miss(self, name: str, word: str, key: Key) -> None:
        state = "not set" if name not in os.environ else "empty"
        reason = f": {word.rstrip('.')}" if word else ""
        message = f"`{'.'.join(key)}` needs the environment variable {name}, which is {state}{reason}."
        self.complaints.append((key, message, f"Set it, or give a default: ${{{name}:-...}}"))


def _reading(text: str, kind: Any) -> Any:
    value = text if has_leading_zero(text) else scalar(text)
    return text if not fits(value, kind) and fits(text, kind) else value
