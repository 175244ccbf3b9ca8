"""Runs in Hamilton's UI, by Hamilton's own SDK."""

import logging
from typing import Any, Final

from hamilton_sdk.adapters import HamiltonTracker
from hamilton_sdk.api.clients import BasicSynchronousHamiltonClient
from hamilton_sdk.tracking import constants

from fpbus.pipelines.scope import RunScope
from fpbus.schemas.adapters import HamiltonTrackerConfig

from .reach import reach

_log: Final = logging.getLogger("fpbus.pipelines.adapters")

_FLUSH_S: Final = 1

# It announces each run as a warning, and logs what it raises.
logging.getLogger("hamilton_sdk").setLevel(logging.CRITICAL)


class TrackerError(Exception):
    """Hamilton's UI cannot record a run."""


def make_tracker(config: HamiltonTrackerConfig, scope: RunScope) -> "Tracker":
    """Return a tracker; raise whatever keeps it from its server, within seconds when nobody is there."""
    for key in ("username", "project_id"):
        if getattr(config, key) is None:
            raise TrackerError(f"adapter.hamilton_tracker.{key} is not set")
    reach(config.api_url, "Hamilton's UI")
    client = Client(config)
    try:
        return Tracker(config, scope, client)
    except BaseException:
        client.leave()
        raise


class Client(BasicSynchronousHamiltonClient):  # type: ignore[misc]  # Hamilton's classes are Any to us
    """The SDK's connection. Its thread outlives a server that is away for a while."""

    def __init__(self, config: HamiltonTrackerConfig) -> None:
        login: dict[str, Any] = {"api_key": config.api_key, "username": config.username, "verify": config.verify}
        super().__init__(h_api_url=config.api_url.rstrip("/"), **login)
        self.flush_interval = _FLUSH_S
        self.lost: Exception | None = None

    def flush(self, batch: list[Any]) -> None:
        """Send the updates of nodes; what goes wrong is told at the end of the run."""
        try:
            super().flush(batch)
        except Exception as error:
            # Raised here it would end the thread, and with it the record of all later runs.
            self.lost = error

    def leave(self) -> None:
        """End the thread when it has sent what it has, without waiting for it."""
        self.data_queue.put(None)


class Tracker(HamiltonTracker):  # type: ignore[misc]  # as above
    """Hamilton's tracker for a driver that is kept: each run has its tags, and leaves nothing behind in memory."""

    def __init__(self, config: HamiltonTrackerConfig, scope: RunScope, client: Client) -> None:
        self._config = config
        self._scope = scope
        self._tags = {name: str(value) for name, value in config.tags.items()}
        arguments: dict[str, Any] = {
            "project_id": config.project_id,
            "username": config.username,
            "dag_name": config.dag_name or scope.facts.pipeline,
            "tags": self._tags,
            "hamilton_api_url": config.api_url,
            "hamilton_ui_url": config.ui_url,
        }

        def connected(*_: Any, **__: Any) -> Client:
            return client

        super().__init__(client_factory=connected, **arguments)

    def pre_graph_execute(self, run_id: str, *arguments: Any, **named: Any) -> None:
        facts, config = self._scope.facts, self._config
        reach(config.api_url, "Hamilton's UI")
        # The SDK has one set of limits for the process; the last run that began decides.
        constants.CAPTURE_DATA_STATISTICS = config.capture_data_statistics
        constants.MAX_LIST_LENGTH_CAPTURE = config.max_list_length_capture
        constants.MAX_DICT_LENGTH_CAPTURE = config.max_dict_length_capture
        self.base_tags = {**self._tags, "fpbus.run_id": facts.run_id, "fpbus.attempt": str(facts.attempt)}
        number = super().pre_graph_execute(run_id, *arguments, **named)
        url = f"{config.ui_url.rstrip('/')}/dashboard/project/{config.project_id}/runs/{number}"
        _log.debug("run is recorded in Hamilton's UI", extra={"run_id": facts.run_id, "url": url})

    def post_graph_execute(self, run_id: str, *arguments: Any, **named: Any) -> None:
        try:
            super().post_graph_execute(run_id, *arguments, **named)
        finally:
            self.abandon()
        lost, self.client.lost = self.client.lost, None
        if lost is not None:
            raise TrackerError(f"Hamilton's UI did not take what nodes did: {lost}") from lost

    def abandon(self) -> None:
        """Forget the run; the SDK would remember every run until the process ends."""
        for kept in (self.tracking_states, self.dw_run_ids, self.task_runs):
            kept.clear()
