"""Find out quickly whether a server is there; the libraries that speak to it wait for minutes."""

import socket
from typing import Final
from urllib.parse import urlsplit

_CONNECT_S: Final = 2.0


class ServerAwayError(Exception):
    """Nobody listens where an adapter is to report to."""


def reach(url: str, what: str) -> None:
    """Raise `ServerAwayError` if nobody listens at an HTTP address; `what` is who should."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"}:
        return
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), _CONNECT_S).close()
    except OSError as error:
        # The address is said without what may stand before it: a user's name and password.
        raise ServerAwayError(f"{what} at {parts.hostname}:{port} does not answer ({error})") from error
