"""Code from elsewhere, kept on this machine by its content: `<cache>/projects/<address>-<content>`.

A changed project is another folder, so that what runs from the old one is not pulled away under it; an unchanged one
is found again. A folder appears by one rename, whole. Python runs what is in here, so nobody else may write to it.
"""

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from .credentials import Address, is_secret
from .errors import ProjectError
from .remote_errors import RemoteError
from .remote_folder import Stamps, is_source

_KEPT: Final = 5
_STAMPS: Final = ".stamps"
_STATE: Final = ".fpbus"
#: What a process leaves that was killed while it wrote.
_ABANDONED_S: Final = 3600


class Checkouts:
    """The checkouts of one project."""

    def __init__(self, place: Address) -> None:
        self._place = place
        self._shelf = _shelf()
        self._address = _digest(json.dumps([place.url, _plain(place.options)], sort_keys=True).encode())[:16]

    def keep(self, files: Mapping[str, bytes], stamps: Stamps) -> Path:
        """Return a folder with exactly these files; one that is there already is looked at, file by file."""
        content = content_digest(files)
        folder = self._shelf / f"{self._address}-{content[:32]}"
        if not folder.is_dir() or content_digest(read_sources(folder)) != content:
            self._put(files, folder)
        _stamps_file(folder).write_bytes(msgspec.json.encode(stamps))
        self._prune(folder)
        return folder

    def is_current(self, folder: Path, stamps: Stamps) -> bool:
        """Tell whether the storage says of every file what it said when the folder was made."""
        if not folder.name.startswith(f"{self._address}-") or not folder.is_dir() or not all(stamps.values()):
            return False
        try:
            known = msgspec.json.decode(_stamps_file(folder).read_bytes(), type=dict[str, str])
        except (OSError, msgspec.MsgspecError):
            return False
        os.utime(folder)
        return known == stamps

    def _put(self, files: Mapping[str, bytes], folder: Path) -> None:
        new = Path(tempfile.mkdtemp(prefix=".new-", dir=self._shelf))
        try:
            write_files(new, files)
            if folder.exists():  # somebody changed what is in it
                self._put_away(folder, new)
            _rename(new, folder)
        except OSError as error:
            raise RemoteError(
                f"{self._place} cannot be kept in {self._shelf}: {error.strerror}.", "Set FPBUS_CACHE_DIR."
            ) from error
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def _put_away(self, changed: Path, new: Path) -> None:
        old = Path(tempfile.mkdtemp(prefix=".old-", dir=self._shelf)) / "project"
        changed.rename(old)
        if (old / _STATE).exists():
            (old / _STATE).rename(new / _STATE)

    def _prune(self, newest: Path) -> None:
        """Remove all but the last few; never one in which something was kept, such as outputs of runs."""
        os.utime(newest)
        mine = sorted(self._shelf.glob(f"{self._address}-*/"), key=lambda path: path.stat().st_mtime, reverse=True)
        old = [path for path in mine[_KEPT:] if not (path / _STATE).exists()]
        for path in (*old, *_abandoned(self._shelf)):
            shutil.rmtree(path, ignore_errors=True)
            _stamps_file(path).unlink(missing_ok=True)


def content_digest(files: Mapping[str, bytes]) -> str:
    """Return a digest of paths and bytes."""
    parts = (f"{path}\0{_digest(content)}\0" for path, content in sorted(files.items()))
    return _digest("".join(parts).encode())


def read_sources(folder: Path) -> dict[str, bytes]:
    """Read the files of a folder that are a project's."""
    return {path: (folder / path).read_bytes() for path in paths_in(folder) if is_source(path)}


def paths_in(folder: Path) -> list[str]:
    """List the files below a folder; a link is none, wherever it leads."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sorted(path.relative_to(folder).as_posix() for path in found)


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files that only this user can read."""
    for path, content in files.items():
        target = folder / path
        for parent in reversed(target.relative_to(folder).parents[:-1]):
            (folder / parent).mkdir(mode=0o700, exist_ok=True)
        with open(target, "wb", opener=_private) as file:
            file.write(content)


def scratch() -> Path:
    """Make an empty folder beside the checkouts, for this user alone."""
    return Path(tempfile.mkdtemp(prefix=".copy-", dir=_shelf()))


def _rename(new: Path, folder: Path) -> None:
    try:
        new.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was faster, with the same content
            raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_EXCL, 0o600)


def _shelf() -> Path:
    cache = Path(os.environ.get("FPBUS_CACHE_DIR") or "~/.cache/fpbus").expanduser()
    shelf = cache.absolute() / "projects"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        shelf.mkdir(mode=0o700, exist_ok=True)
        state = shelf.stat()
    except OSError as error:
        raise ProjectError(f"{shelf} cannot be made: {error.strerror}.", "Set FPBUS_CACHE_DIR.") from error
    if state.st_uid != os.getuid() or state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ProjectError(
            f"{shelf} can be written by others, and code is run from there.",
            f"Try chmod 700 {shelf}, or set FPBUS_CACHE_DIR.",
        )
    return shelf


def _abandoned(shelf: Path) -> list[Path]:
    folders = [path for path in shelf.glob(".*-*/") if path.name.startswith((".new-", ".old-", ".copy-"))]
    newest = max((path.stat().st_mtime for path in shelf.iterdir()), default=0.0)
    return [path for path in folders if path.stat().st_mtime < newest - _ABANDONED_S]


def _stamps_file(folder: Path) -> Path:
    return folder.with_name(folder.name + _STAMPS)


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what says where something is; a new password is no other project."""
    plain = {name: value for name, value in options.items() if not is_secret(name)}
    return {
        name: _plain(value) if isinstance(value, Mapping) else str(value)
        for name, value in plain.items()
        if name != "timeout"
    }


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
