"""Foreign text as it may be shown: nothing in it moves a cursor, forges a line, or turns the direction of reading."""

import re
from typing import Final

#: Control characters, what turns the direction of reading, line ends of Unicode, and halves of characters.
_UNSAFE: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]",
)
_UNSAFE_IN_LINES: Final = re.compile(_UNSAFE.pattern.replace(r"\x00-\x1f", r"\x00-\x08\x0b-\x1f"))


def plain(text: str, *, lines: bool = False) -> str:
    r"""Return a text with `\x1b`, `\n`, `\u202e` written out; `lines` leaves ends of lines and tabs as they are."""
    if lines:
        return _UNSAFE_IN_LINES.sub(_written_out, text.replace("\r\n", "\n"))
    return _UNSAFE.sub(_written_out, text)


def plain_json(text: str) -> str:
    r"""Return the same JSON, with what a terminal might obey as `\u001b`."""
    return _UNSAFE_IN_LINES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _written_out(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
