"""A project on any fsspec URL. Everything else works in a local folder, which is made here.

`checkout` is for who reads and runs, `working_copy` for who changes. Where the project is in a local folder, it is
that folder.
"""

import contextlib
import shutil
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import fsspec

from .checkouts import Checkouts, paths_in, scratch, write_files
from .credentials import address, protocols_of
from .files import CONFIG
from .remote_errors import RemoteError, RemoteNotFoundError
from .remote_folder import RemoteFolder, is_hidden, is_source, refuse_read_only

Options = Mapping[str, Any] | None
"""Storage options as fsspec takes them."""


def checkout(url: str, storage_options: Options = None) -> Path:
    """Return a local folder with a project's code and configuration as they are now.

    Code from elsewhere is kept on this machine by its content. Raises `RemoteError`.
    """
    return _checkout(url, storage_options, None)


def refresh(url: str, storage_options: Options, known: Path) -> Path:
    """Return `known`, an earlier checkout, when nothing has changed, else a new checkout.

    Only a listing is read where the storage tells hashes or times of its files.
    """
    return _checkout(url, storage_options, known)


@contextlib.contextmanager
def working_copy(url: str, storage_options: Options = None) -> Generator[Path]:
    """Give a local folder to change a project in; at the end, what was changed is carried back.

    A folder without a project gives an empty one. When the block raises, nothing is carried back. A file that
    somebody else has changed meanwhile is not overwritten: that raises `RemoteError`, before anything is written.
    """
    if is_local(url):
        yield _local(url)
        return
    place = address(url, storage_options)
    refuse_read_only(place)
    remote = RemoteFolder(place)
    before = _files_of(remote)
    folder = scratch()
    try:
        write_files(folder, before)
        yield folder
        _carry_back(folder, before, remote)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def is_local(url: str) -> bool:
    """Tell whether a URL or path is a folder of this machine."""
    return protocols_of(url) in (["file"], ["local"])


def _local(url: str) -> Path:
    return Path(fsspec.core.url_to_fs(url)[1])


def _checkout(url: str, storage_options: Options, known: Path | None) -> Path:
    if is_local(url):
        return _local(url)
    place = address(url, storage_options)
    remote, checkouts = RemoteFolder(place), Checkouts(place)
    stamps = remote.stamps()
    if known is not None and checkouts.is_current(known, stamps):
        return known
    if str(CONFIG) not in stamps:
        raise RemoteNotFoundError(f"There is no fpbus project at {place}: {CONFIG} is missing.", "Make one: fpbus init")
    return checkouts.keep(remote.read(stamps), stamps)


def _files_of(remote: RemoteFolder) -> dict[str, bytes]:
    try:
        return remote.read(remote.stamps())
    except RemoteNotFoundError:
        return {}


def _carry_back(folder: Path, before: Mapping[str, bytes], remote: RemoteFolder) -> None:
    after = {path: (folder / path).read_bytes() for path in paths_in(folder) if _is_visible(path)}
    changed = [path for path, content in after.items() if before.get(path) != content]
    gone = [path for path in before if path not in after]
    _refuse_conflicts(remote, before, [*changed, *gone])
    # A pipeline exists by its configuration: that comes last and goes first.
    for path in sorted(changed, key=_is_configuration):
        remote.write(path, after[path])
    for path in sorted(gone, key=_is_configuration, reverse=True):
        remote.remove(path)


def _refuse_conflicts(remote: RemoteFolder, before: Mapping[str, bytes], touched: list[str]) -> None:
    """Compare what would be overwritten with what was fetched. Pictures and the like nobody wrote by hand."""
    conflicts = [path for path in touched if is_source(path) and remote.read_if_there(path) != before.get(path)]
    if conflicts:
        raise RemoteError(
            f"{remote.place} was changed by somebody else meanwhile: {', '.join(conflicts)}.",
            "Nothing was written. Run the command again.",
        )


def _is_visible(path: str) -> bool:
    return is_source(path) or not is_hidden(path)


def _is_configuration(path: str) -> bool:
    return path.startswith(f"{CONFIG.parts[0]}/")
