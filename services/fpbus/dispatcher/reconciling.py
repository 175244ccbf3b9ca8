"""Runs that are open and stand nowhere: put back, so that every accepted run comes to an end.

All scripts move a run in one step, so none is lost that way. What others do in Redis by hand, or a script that was
stopped in the middle of its writes, can take a run from its place all the same.
"""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from fpbus.schemas import RunResult, RunState
from fpbus.schemas.queue import RunJob

from .handlers import gone_result, lost_result
from .queue import Orphan, RunQueue

log = logging.getLogger(__name__)

#: So many open runs are looked at with each tick of the dispatcher.
LOOK_AT: Final = 200

PublishEnd = Callable[[RunJob | None, RunResult], None]


class Reconciler:
    """Looks at the open runs, a part at a time, round and round."""

    def __init__(self, queue: RunQueue, publish_end: PublishEnd) -> None:
        self._queue = queue
        self._publish_end = publish_end
        self._at = 0

    def settle(self) -> None:
        """Look at the next of them."""
        self._at, orphans = self._queue.orphans(self._at, LOOK_AT)
        for orphan in orphans:
            self._settle(orphan)

    def _settle(self, orphan: Orphan) -> None:
        now = datetime.now(UTC)
        result: RunResult | None = None
        if orphan.job is None:
            result = gone_result(orphan.run_id, orphan.pipeline, orphan.attempt, orphan.accepted_at, now)
        elif orphan.state == RunState.STARTED:
            result = lost_result(orphan.job, orphan.attempt, orphan.lost_before, now)
        outcome = self._queue.put_back(orphan, result, now)
        if outcome == "LATE":
            return
        log.warning(
            "a run had no place in Redis", extra={"run_id": orphan.run_id, "was": orphan.state, "then": outcome}
        )
        if result is not None:
            self._publish_end(orphan.job, result)
