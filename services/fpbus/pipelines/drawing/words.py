"""How wide a text is in a sans-serif font, near enough to size a box, and how to shorten one that is too long."""

from typing import Final

_WIDTHS: Final = {
    **dict.fromkeys("ijl.,:;'|!", 0.29),
    **dict.fromkeys("frtI()[]/ ", 0.39),
    **dict.fromkeys("mwMW@%", 0.93),
    **dict.fromkeys("ABCDEFGHJKLNOPQRSTUVXYZ&", 0.71),
}
_USUAL: Final = 0.61
_WIDE: Final = 1.0


def width_of(text: str, size: float) -> float:
    """Return the width of `text` at a font size, rather a little too much: nobody knows the reader's font."""
    return size * sum(_WIDTHS.get(letter, _USUAL if letter < "\u1100" else _WIDE) for letter in text)


def shortened(text: str, letters: int) -> str:
    """Cut out the middle, because the two ends of a name tell it apart."""
    if len(text) <= letters:
        return text
    tail = (letters - 1) // 2
    return f"{text[: letters - 1 - tail]}…{text[-tail:]}"
