"""Forget runs that ended long ago: their files first, then their records, some at a time.

Whoever is killed in between finds the records again, and files that are gone already.
"""

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import sqlalchemy as sql

from fpbus.schemas import FpbusError

from .database import Database, DatabaseError
from .history import runs
from .lease import Lease, LeaseLostError
from .tallies import Ended, add, forget_empty

log = logging.getLogger(__name__)

BATCH: Final = 200
LOOK_EVERY_S: Final = 60.0
_PAUSE_S: Final = 0.05
_RETRY_S: Final = 1.0

#: Removes the files of a run, by pipeline and id.
Remove = Callable[[str, str], None]


class Retention:
    """Keeps runs for so long after their end. It works on a thread of its own, and records are written meanwhile."""

    def __init__(self, database: Database, lease: Lease, keep: timedelta, remove: Remove) -> None:
        self._database = database
        self._lease = lease
        self._keep = keep
        self._remove = remove
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="retention", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def sweep(self, now: datetime) -> int:
        """Forget the oldest that are due, and return how many those were."""
        due = self._due(now - self._keep)
        for run_id, ended, has_files in due:
            if has_files:
                self._remove(ended.pipeline, run_id)
        if due:
            with self._database.write() as connection:
                self._lease.renew(connection, time.time())
                connection.execute(sql.delete(runs).where(runs.c.run_id.in_([run_id for run_id, _, _ in due])))
                add(connection, [(-1, ended) for _, ended, _ in due])
                if len(due) < BATCH:
                    forget_empty(connection, now - self._keep)
        return len(due)

    def _due(self, before: datetime) -> list[tuple[str, Ended, bool]]:
        oldest = (
            sql.select(
                runs.c.run_id, runs.c.pipeline, runs.c.state, runs.c.finished_at, runs.c.duration_s, runs.c.outputs
            )
            .where(runs.c.at < before, runs.c.finished_at < before)
            .order_by(runs.c.at)
            .limit(BATCH)
        )
        with self._database.read() as connection:
            return [
                (run_id, Ended(*facts), outputs is not None and '"ref"' in outputs)
                for run_id, *facts, outputs in connection.execute(oldest)
            ]

    def _work(self) -> None:
        while not self._ending.is_set():
            try:
                pause_s = _PAUSE_S if self.sweep(datetime.now(UTC)) == BATCH else LOOK_EVERY_S
            except LeaseLostError:
                return
            except DatabaseError as error:  # whoever records is in the way
                log.info("will forget old runs later", extra={"reason": str(error)})
                pause_s = _RETRY_S
            except FpbusError as error:
                log.warning("could not remove the files of old runs", extra={"reason": str(error)})
                pause_s = LOOK_EVERY_S
            self._ending.wait(pause_s)
