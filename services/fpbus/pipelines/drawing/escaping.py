"""Text inside XML, whatever a docstring has in it."""

import re
from html import escape
from typing import Final

# What XML 1.0 cannot hold, not even escaped; lone surrogates are not even UTF-8.
_ILLEGAL: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def xml_text(text: str) -> str:
    """Escape for an element or a quoted attribute; a character that XML cannot hold becomes U+FFFD."""
    return escape(_ILLEGAL.sub("\ufffd", text))
