"""The cache's files on any fsspec filesystem. Nothing here fails a run: what cannot be read is not there."""

import hashlib
import logging
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from fpbus.project import address, private_folder

log = logging.getLogger(__name__)


class CacheFiles:
    """A folder of small files by key. Several processes and threads may use it at once."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self.url = url
        self._address = address(url, options)
        self._complained = False
        self._place: tuple[Any, str] | None = None

    def read(self, kind: str, key: str) -> bytes | None:
        """Return a file; None where there is none or it cannot be read."""
        try:
            filesystem, path = self._open(kind, key)
            content: bytes = filesystem.cat_file(path)
        except FileNotFoundError:
            return None
        except Exception as error:
            # Each filesystem raises its own, down to those of the HTTP client below it.
            self._complain("read", error)
            return None
        return content

    def has(self, kind: str, key: str) -> bool:
        try:
            filesystem, path = self._open(kind, key)
            return bool(filesystem.exists(path))
        except Exception as error:
            # As in `read`.
            self._complain("read", error)
            return False

    def write(self, kind: str, key: str, content: bytes) -> None:
        """Write a file whole: readers see the one before it, or this one."""
        try:
            filesystem, path = self._open(kind, key)
            if isinstance(filesystem, LocalFileSystem):
                _write_and_move(Path(path), content)
            else:
                filesystem.pipe_file(path, content)  # an object store shows no half of an object
        except Exception as error:
            # As in `read`.
            self._complain("written", error)

    def delete(self, kind: str, key: str) -> None:
        try:
            filesystem, path = self._open(kind, key)
            filesystem.rm_file(path)
        except FileNotFoundError:
            return
        except Exception as error:
            # As in `read`.
            self._complain("written", error)

    def clear(self) -> None:
        """Delete all; raise what the filesystem raises."""
        filesystem, root = self._root()
        if filesystem.exists(root):
            filesystem.rm(root, recursive=True)

    def _open(self, kind: str, key: str) -> tuple[Any, str]:
        filesystem, root = self._root()
        return filesystem, f"{root}/{kind}/{hashlib.sha256(key.encode()).hexdigest()}"

    def _root(self) -> tuple[Any, str]:
        if self._place is None:
            filesystem, path = fsspec.core.url_to_fs(self._address.url, **self._address.options)
            self._place = filesystem, path.rstrip("/")
        return self._place

    def _complain(self, deed: str, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            reason = self._address.conceal(str(error))
            log.warning("the cache at %s cannot be %s, so nodes are computed: %s", self._address, deed, reason)


def _write_and_move(path: Path, content: bytes) -> None:
    private_folder(path.parent)
    beside = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
