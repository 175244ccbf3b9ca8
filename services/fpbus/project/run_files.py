"""Files that runs have left on the project's storage: those of one run lie in a folder of its own."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import fsspec

from .credentials import address
from .remote_errors import RemoteNotFoundError, explained


class RunFiles:
    """The storage at an fsspec URL. `options` are what its filesystem takes beside that."""

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        self._place = address(url.rstrip("/"), options)

    def remove(self, pipeline: str, run_id: str) -> None:
        """Remove what a run has left, if anything. Raises `ProjectError` when the storage is not reached."""
        with explained(self._place):
            filesystem: Any
            filesystem, root = fsspec.core.url_to_fs(self._place.url, **self._place.options)
            folder = "/".join([root, quote(pipeline, safe=""), quote(run_id, safe="")])
            if filesystem.exists(folder):
                filesystem.rm(folder, recursive=True)


def read_output(ref: str, options: Mapping[str, Any] | None = None) -> bytes:
    """Read the file that a run's output refers to; raise `ProjectError` where it is not, or cannot be read."""
    place = address(ref, options)
    with explained(place):
        filesystem: Any
        filesystem, path = fsspec.core.url_to_fs(place.url, **place.options)
        if not filesystem.exists(path):
            raise RemoteNotFoundError(
                f"There is no file {place}.",
                "It is on the machine that ran it, or was removed. A storage_url that all machines reach helps.",
            )
        content: bytes = filesystem.cat_file(path)
        return content
