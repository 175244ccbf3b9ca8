"""Hamilton's caching, with versions and stores of ours, and no memory of runs that are over."""

import hashlib
from typing import Any, Final

from hamilton.caching.adapter import CachingBehavior, CachingEventType, HamiltonCacheAdapter
from hamilton.caching.cache_key import decode_key
from hamilton.node import NodeType

from .stores import ValueStore, VersionStore

_KEPT: Final = (CachingBehavior.DEFAULT, CachingBehavior.RECOMPUTE)
_NEVER_AGAIN: Final = ("<unhashable>", "<disable>")
_Place = tuple[str, str, str | None]


class CacheAdapter(HamiltonCacheAdapter):  # type: ignore[misc]  # Hamilton's classes are Any to us
    """Takes values of nodes from the cache, and puts them there. `was_hit` tells which."""

    def __init__(self, values: ValueStore, versions: VersionStore, **settings: Any) -> None:
        super().__init__(result_store=values, metadata_store=versions, **settings)
        self._values = values
        self._versions = versions
        self._hits: set[_Place] = set()
        self._codes: dict[str, str] = {}

    def was_hit(self, run_id: str, node: str, task_id: str | None) -> bool:
        """Say whether a node's value of this run came from the cache."""
        return (run_id, node, task_id) in self._hits

    def forget(self) -> None:
        """Forget all runs. A driver is kept for thousands."""
        self.run_ids.clear()
        self._hits.clear()
        for by_run in (
            self._fn_graphs,
            self._data_savers,
            self._data_loaders,
            self.behaviors,
            self.data_versions,
            self.code_versions,
            self.cache_keys,
            self._logs,
        ):
            by_run.clear()

    def join_run(self, run_id: str, graph: Any) -> None:
        """Take part in a run that began in another process; forget the one before it."""
        if run_id not in self.behaviors:
            self.forget()
            self.pre_graph_execute(run_id=run_id, graph=graph, final_vars=[], inputs={}, overrides={})

    def version_code(self, node_name: str, run_id: str | None = None) -> str:
        """Return the version of a node's code, which does not change while its module is imported."""
        if node_name not in self._codes:
            self._codes[node_name] = super().version_code(node_name, run_id)
        return self._codes[node_name]

    def pre_node_execute(
        self, *, run_id: str, node_: Any, kwargs: dict[str, Any], task_id: str | None = None, **_: Any
    ) -> None:
        """Make the key. Hamilton's is the same for collected items in any order, which the node gets as a list."""
        super().pre_node_execute(run_id=run_id, node_=node_, kwargs=kwargs, task_id=task_id)
        if node_.node_role == NodeType.COLLECT and self.behaviors[run_id][node_.name] in _KEPT:
            key = self.get_cache_key(run_id=run_id, node_name=node_.name, task_id=task_id)
            order = "".join(self.version_data(item, run_id) for item in kwargs[node_.collect_dependency])
            self.cache_keys[run_id][node_.name] = f"{key}#{hashlib.sha256(order.encode()).hexdigest()}"

    def post_node_execute(
        self,
        *,
        run_id: str,
        node_: Any,
        result: Any,
        success: bool = True,
        task_id: str | None = None,
        **_: Any,
    ) -> None:
        """Keep what was computed. `@cache(format=...)` is not asked: the forms of ours are those that are exact."""
        name = node_.name
        if not success or self.behaviors[run_id][name] not in _KEPT or self.was_hit(run_id, name, task_id):
            return
        key = self.get_cache_key(run_id=run_id, node_name=name, task_id=task_id)
        version = self.get_data_version(run_id=run_id, node_name=name, task_id=task_id, cache_key=key)
        if _may_come_again(key) and not self._values.exists(version):
            self._values.set(version, result)

    def _set_stored_metadata(
        self,
        run_id: str,  # noqa: ARG002 (the signatures of these three are Hamilton's)
        node_name: str,  # noqa: ARG002
        cache_key: str | None,
        data_version: str,
        task_id: str | None = None,  # noqa: ARG002
    ) -> None:
        if cache_key is not None and _may_come_again(cache_key):
            self._versions.set(cache_key, data_version)

    def _version_data(
        self,
        node_name: str | None,  # noqa: ARG002
        run_id: str | None,  # noqa: ARG002
        result: Any,
        task_id: str | None = None,  # noqa: ARG002
    ) -> str:
        return self._values.version(result)

    def _log_event(  # noqa: PLR0917
        self,
        run_id: str,
        node_name: str,
        actor: str,  # noqa: ARG002
        event_type: Any,
        msg: str | None = None,  # noqa: ARG002
        value: Any = None,  # noqa: ARG002
        task_id: str | None = None,
    ) -> None:
        """Note hits; Hamilton's own log of a run has some ten entries for each node, and nobody here reads them."""
        if event_type is CachingEventType.GET_RESULT:
            self._hits.add((run_id, node_name, task_id))


def _may_come_again(cache_key: str) -> bool:
    """Say whether a key can ever be asked for again; others hold a random part, and would only fill the storage."""
    parts = decode_key(cache_key.partition("#")[0])["dependencies_data_versions"]
    return not any(str(version).startswith(_NEVER_AGAIN) for version in parts.values())
