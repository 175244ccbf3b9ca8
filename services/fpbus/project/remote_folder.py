"""A project's files on any fsspec filesystem: which there are, what is in them, and writing them."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, Final

import fsspec

from .credentials import Address
from .files import CONFIG, MODULES
from .remote_errors import RemoteError, explained
from .repositories import PROTOCOLS, open_repository

Stamps = dict[str, str]
"""What the storage says of each file (its hash, version, or time and size), by path below the project."""

MOST_BYTES: Final = 64 * 1024 * 1024
MOST_FILES: Final = 5000

_WHOLE_FOLDERS: Final = frozenset({CONFIG.parts[0], MODULES.name, "hooks"})
_SOURCES: Final = frozenset({".py", ".yml", ".yaml"})
_LISTING_S: Final = 20
_TRANSFER_S: Final = 120
_S3_RETRIES: Final = 2
#: Where folders are made by the files in them, and making one by name could make a bucket.
_WITHOUT_FOLDERS: Final = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory"})
_READ_ONLY: Final = frozenset({"github", "gitlab", "http", "https", "zip", "tar", "libarchive", "git", "gist"})
_VERSIONS: Final = (
    *("ETag", "etag", "md5Hash", "generation", "CRC", "LastModified", "last_modified", "updated", "created"),
    *("mtime", "modify", "modificationTime", "date_time"),
)


class RemoteFolder:
    """The folder of a project on some filesystem. Everything here raises `RemoteError`."""

    def __init__(self, place: Address) -> None:
        self.place = place
        with explained(place):
            self._files, root = _open(place)
            self._root = str(root).rstrip("/")
            self._files.invalidate_cache()

    def stamps(self) -> Stamps:
        """List the project's files. Pictures, data and what is hidden are no part of it."""
        with explained(self.place):
            found = {path: facts for path, facts in self._listing() if is_source(path)}
        if len(found) > MOST_FILES:
            raise RemoteError(f"{self.place} has {len(found)} files; a project may have {MOST_FILES}.", _TOO_MUCH)
        if sum(facts.get("size") or 0 for facts in found.values()) > MOST_BYTES:
            raise self._too_large()
        return {path: _stamp(facts) for path, facts in found.items()}

    def read(self, paths: Iterable[str]) -> dict[str, bytes]:
        """Read files, `MOST_BYTES` in all and no more."""
        wanted = list(paths)
        with explained(self.place):
            return dict(self._read(wanted))

    def read_if_there(self, path: str) -> bytes | None:
        """Read what is there now, whatever an earlier listing said."""
        with explained(self.place):
            self._files.invalidate_cache()
            try:
                return self._content([path])[0]
            except FileNotFoundError:
                return None

    def write(self, path: str, content: bytes) -> None:
        full = f"{self._root}/{path}"
        with explained(self.place):
            if self.place.protocol not in _WITHOUT_FOLDERS:
                self._ask("makedirs", full.rpartition("/")[0], exist_ok=True)
            self._ask("pipe_file", full, content, deadline_s=_TRANSFER_S)

    def remove(self, path: str) -> None:
        with explained(self.place):
            self._ask("rm_file", f"{self._root}/{path}")

    def _listing(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Walk through the project, but not into what is hidden: outputs of runs may lie there in thousands."""
        for facts in self._ask("ls", self._root, detail=True):
            path = self._below(str(facts["name"]))
            if path and facts["type"] != "directory":
                yield path, facts
            elif path and not is_hidden(path):
                for name, inner in self._ask("find", facts["name"], detail=True).items():
                    # The console of S3 keeps an empty file `conf/` for the folder conf.
                    if inner["type"] != "directory" and not name.endswith("/"):
                        yield self._below(str(name)), inner

    def _below(self, name: str) -> str:
        """Return a path below the project; one that leads out of it is refused, and '' is the folder itself."""
        path = name.removesuffix("/").removeprefix(self._root).removeprefix("/")
        if name.removesuffix("/") == self._root.removesuffix("/"):
            return ""
        inside = not self._root or name.startswith(f"{self._root}/")
        if not inside or not is_inside(path):
            raise RemoteError(
                f"{self.place} has a file named {path[:200]!r}, which leads out of the project.",
                "Nothing was copied. Remove it there.",
            )
        return path

    def _read(self, paths: list[str]) -> Iterator[tuple[str, bytes]]:
        left = MOST_BYTES
        for start in range(0, len(paths), _AT_ONCE):
            some = paths[start : start + _AT_ONCE]
            for path, content in zip(some, self._content(some), strict=True):
                left -= len(content)
                if left < 0:
                    raise self._too_large()
                yield path, content

    def _too_large(self) -> RemoteError:
        return RemoteError(
            f"{self.place} has more than {MOST_BYTES // 1024**2} MiB of code and configuration.", _TOO_MUCH
        )

    def _content(self, paths: Collection[str]) -> list[bytes]:
        full = [f"{self._root}/{path}" for path in paths]
        # Not `cat`, which reads `[` and `*` in a name as a pattern.
        content: list[bytes] = self._ask("cat_ranges", full, None, None, on_error="raise", deadline_s=_TRANSFER_S)
        return content

    def _ask(self, method: str, *arguments: Any, deadline_s: int = _LISTING_S, **options: Any) -> Any:
        # fsspec gives up after `timeout` where it waits for a coroutine; other filesystems do not know the word.
        deadline = {"timeout": deadline_s} if self._files.async_impl else {}
        return getattr(self._files, method)(*arguments, **options, **deadline)


def refuse_read_only(place: Address) -> None:
    """Raise where nothing can be written, before somebody has done the work."""
    if place.protocol in _READ_ONLY:
        raise RemoteError(f"{place} can be read only.", "Change a copy of the project, and put that there.")


def is_inside(path: str) -> bool:
    """Tell whether a path stays below the folder that it is joined to, on any system."""
    parts = path.split("/")
    return not any(part in {"", ".", ".."} or ":" in part or "\\" in part or "\0" in part for part in parts)


def is_source(path: str) -> bool:
    """Tell whether a file is code, configuration or their company, and not data, a picture or hidden."""
    file = PurePosixPath(path)
    if not path or is_hidden(path):
        return path == ".gitignore"
    return file.parts[0] in _WHOLE_FOLDERS or file.suffix in _SOURCES or path == "README.md"


def is_hidden(path: str) -> bool:
    """Tell whether a file is not for others: `.env`, `.git`, `.fpbus`, `__pycache__` and what is in them."""
    return any(part.startswith(".") or part == "__pycache__" for part in path.split("/"))


def _stamp(facts: Mapping[str, Any]) -> str:
    """Return what tells versions of a file apart, or nothing where the storage does not say."""
    said = [f"{name}={facts[name]}" for name in _VERSIONS if facts.get(name) is not None]
    return f"{facts.get('size')} {' '.join(said)}" if said else ""


def _open(place: Address) -> tuple[Any, str]:
    if place.protocol in PROTOCOLS:
        return open_repository(place)
    # fsspec changes the mappings it is given.
    files, root = fsspec.core.url_to_fs(place.url, **{k: _copy(v) for k, v in place.options.items()})
    if place.protocol in {"s3", "s3a"}:
        files.retries = _S3_RETRIES  # on top of those of its library
    return files, root


def _copy(value: Any) -> Any:
    return {name: _copy(inner) for name, inner in value.items()} if isinstance(value, dict) else value


_AT_ONCE: Final = 64
_TOO_MUCH: Final = "Is it the folder of one project? Data belongs elsewhere, or into a hidden folder."
