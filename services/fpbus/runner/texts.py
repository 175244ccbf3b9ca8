"""Text from pipelines, as UTF-8 can carry it."""


def well_formed(text: str) -> str:
    """Return the text with `?` for halves of characters, which Python's strings may have and no message can."""
    return text if text.isascii() else text.encode(errors="replace").decode()
