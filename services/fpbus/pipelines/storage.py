"""Where outputs lie that are too large for a message: any fsspec URL."""

import contextlib
import os
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import fsspec
from fsspec.implementations.local import LocalFileSystem

from fpbus.project import ProjectError, address, explained, private_folder
from fpbus.schemas import FpbusError


class StorageError(FpbusError):
    """The storage cannot be written."""


class Storage:
    """A folder on any fsspec filesystem. `options` are what the filesystem takes beside the URL."""

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        self._place = address(url.rstrip("/"), options)
        self._filesystem: Any
        with self._explained():
            self._filesystem, self._root = fsspec.core.url_to_fs(self._place.url, **self._place.options)
        self._is_local = isinstance(self._filesystem, LocalFileSystem)

    def write(self, path: str, content: bytes) -> str:
        """Write a file whole or not at all, and return its URL. A repeat writes it again."""
        full = "/".join([self._root, *(quote(part, safe="") for part in path.split("/"))])
        with self._explained():
            folder = full.rpartition("/")[0]
            if self._is_local:
                private_folder(Path(folder))
            self._filesystem.makedirs(folder, exist_ok=True)
            with self._filesystem.transaction, self._filesystem.open(full, "wb") as file:
                file.write(content)
            return str(self._filesystem.unstrip_protocol(full))

    @contextlib.contextmanager
    def _explained(self) -> Generator[None]:
        """Say what is wrong with the storage, without the secrets of its address."""
        try:
            with explained(self._place):
                yield
        except ProjectError as error:
            raise StorageError(f"The output cannot be stored: {error}", "Check FPBUS_STORAGE_URL.") from error.__cause__


def default_url(project: os.PathLike[str]) -> str:
    """Return where outputs go when FPBUS_STORAGE_URL is not set."""
    return f"file://{os.fspath(project)}/.fpbus/storage"
