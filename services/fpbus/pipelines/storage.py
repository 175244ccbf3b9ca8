"""Where outputs lie that are too large for a message: any fsspec URL."""

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import fsspec

from fpbus.schemas import FpbusError


class StorageError(FpbusError):
    """The storage cannot be written."""


class Storage:
    """A folder on any fsspec filesystem."""

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        self._url = url.rstrip("/")
        self._filesystem: Any
        self._filesystem, self._root = fsspec.core.url_to_fs(self._url, **(options or {}))

    def write(self, path: str, content: bytes) -> str:
        """Write a file whole or not at all, and return its URL. A repeat writes it again."""
        full = "/".join([self._root, *(quote(part, safe="") for part in path.split("/"))])
        try:
            self._filesystem.makedirs(full.rpartition("/")[0], exist_ok=True)
            with self._filesystem.transaction, self._filesystem.open(full, "wb") as file:
                file.write(content)
        except OSError as error:
            raise StorageError(f"{full} cannot be written: {error}", "Check FPBUS_STORAGE_URL.") from error
        return str(self._filesystem.unstrip_protocol(full))


def default_url(project: os.PathLike[str]) -> str:
    """Return where outputs go when FPBUS_STORAGE_URL is not set."""
    return f"file://{os.fspath(project)}/.fpbus/storage"
