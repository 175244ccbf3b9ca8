"""Hamilton's two stores: values by their version, and versions by what they were computed from."""

import hashlib
import logging
import pickle
import threading
from collections.abc import Sequence
from typing import Any

import msgspec
from hamilton.caching.fingerprinting import UNHASHABLE
from hamilton.caching.stores.base import MetadataStore, ResultRetrievalError, ResultStore

from .files import CacheFiles
from .formats import UnreadableError, pack, unpack, version_of

log = logging.getLogger(__name__)


class ValueStore(ResultStore):  # type: ignore[misc]  # Hamilton's classes are Any to us
    """Keeps values by a hash of their content, so that equal versions mean equal values, types included.

    Hamilton's own hashes take 1 for "1", a list for a tuple, and a table for one with other column names.
    """

    def __init__(self, files: CacheFiles, *, allow_pickle: bool) -> None:
        self._files = files
        self._allow_pickle = allow_pickle
        self._told: set[type] = set()
        self._last = threading.local()  # what `version` has packed and `set` is about to keep

    def version(self, value: Any) -> str:
        """Return the version of a value; `UNHASHABLE` where it has none."""
        packed = pack(value, allow_pickle=self._allow_pickle)
        if packed is not None:
            version = version_of(packed)
            self._last.packed = version, packed
            return version
        try:
            # Nobody reads this pickle: it only tells one value from another.
            return f"not-kept-{hashlib.sha256(pickle.dumps(value)).hexdigest()}"
        except Exception:
            # pickle raises what the values' own classes raise.
            return str(UNHASHABLE)

    def set(self, data_version: str, result: Any, **_: Any) -> None:
        version, packed = getattr(self._last, "packed", (None, b""))
        self._last.packed = None, b""
        if version == data_version:
            self._files.write("values", data_version, packed)
        elif type(result) not in self._told:
            self._told.add(type(result))
            log.info("values of type %s cannot be cached safely, and are computed each time", type(result).__name__)

    def get(self, data_version: str, **_: Any) -> Any:
        file = self._files.read("values", data_version) or b""
        try:
            return unpack(file, data_version, allow_pickle=self._allow_pickle)
        except UnreadableError as error:
            log.info("a cached value is not used, and computed again: %s", error)
            raise ResultRetrievalError(str(error)) from error

    def delete(self, data_version: str) -> None:
        self._files.delete("values", data_version)

    def delete_all(self) -> None:
        self._files.clear()

    def exists(self, data_version: str) -> bool:
        return self._files.has("values", data_version)


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file of one key: the key itself, since the file's name is a hash, and the version."""

    key: str
    version: str


class VersionStore(MetadataStore):  # type: ignore[misc]  # as above
    """Keeps the version that a node's code made of its arguments. A history of runs is the recorder's to keep."""

    def __init__(self, files: CacheFiles) -> None:
        self._files = files

    def get(self, cache_key: str, **_: Any) -> str | None:
        file = self._files.read("versions", cache_key)
        try:
            entry = msgspec.json.decode(file or b"", type=_Entry)
        except msgspec.MsgspecError:
            return None
        return entry.version if entry.key == cache_key else None

    def set(self, cache_key: str, data_version: str, **_: Any) -> None:
        self._files.write("versions", cache_key, msgspec.json.encode(_Entry(cache_key, data_version)))

    def delete(self, cache_key: str) -> None:
        self._files.delete("versions", cache_key)

    def delete_all(self) -> None:
        self._files.clear()

    def exists(self, cache_key: str) -> bool:
        return self.get(cache_key) is not None

    def initialize(self, run_id: str) -> None:
        """Do nothing: runs are not kept here."""

    def __len__(self) -> int:
        return 0

    def get_run_ids(self) -> Sequence[str]:
        return []

    def get_run(self, run_id: str) -> Sequence[dict[str, Any]]:  # noqa: ARG002 (Hamilton's signature)
        return []
