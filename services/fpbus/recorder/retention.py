"""Forget runs that ended long ago, or are too many: their files first, then their records, some at a time.

Whoever is killed in between finds the records again, and files that are gone already. A run whose files cannot be
removed keeps its record, and holds up no other: it has its turn again with the next pass over all that is old.
"""

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import sqlalchemy as sql

from fpbus.schemas import FpbusError, RunState

from .database import Database, DatabaseError
from .history import runs
from .lease import Lease, LeaseLostError
from .tallies import Ended, add, forget_empty

log = logging.getLogger(__name__)

BATCH: Final = 200
LOOK_EVERY_S: Final = 60.0
_PAUSE_S: Final = 0.05
_RETRY_S: Final = 1.0
_NEVER: Final = datetime(1, 1, 1, tzinfo=UTC)

#: Removes the files of a run, by pipeline and id.
Remove = Callable[[str, str], None]


_FACTS: Final = ("run_id", "at", "pipeline", "state", "finished_at", "duration_s", "attempt", "outputs")


class Old(NamedTuple):
    """A run to forget. `place` is where it stands among all of them."""

    run_id: str
    place: tuple[datetime, str]
    ended: Ended
    may_have_files: bool


def _old(run_id: str, at: datetime, *facts: Any) -> Old:
    *ended, attempt, outputs = facts
    tally = Ended(*ended)
    # Of one that succeeded at once its outputs tell; others may have left some before they failed or were stopped.
    failed_before = attempt > 1 or (attempt == 1 and tally.state != RunState.SUCCEEDED)
    return Old(run_id, (at, run_id), tally, failed_before or (outputs is not None and '"ref"' in outputs))


class Retention:
    """Keeps runs for so long after their end, and of all runs the newest so many; those that have not ended stay.

    It works on a thread of its own, and records are written meanwhile.
    """

    def __init__(
        self, database: Database, lease: Lease, keep: timedelta | None, remove: Remove, most: int | None = None
    ) -> None:
        self._database = database
        self._lease = lease
        self._keep = keep
        self._most = most
        self._first_kept = _NEVER
        self._remove = remove
        self._come_to: tuple[datetime, str] | None = None
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
        before = _NEVER if self._keep is None else now - self._keep
        if self._come_to is None:
            self._first_kept = self._newest()
        due = self._due(before)
        self._come_to = due[-1].place if len(due) == BATCH else None
        gone = [old for old in due if self._removed(old)]
        if gone:
            with self._database.write() as connection:
                self._lease.renew(connection, time.time())
                connection.execute(sql.delete(runs).where(runs.c.run_id.in_([old.run_id for old in gone])))
                add(connection, [(-1, old.ended) for old in gone])
                if self._come_to is None:
                    forget_empty(connection, max(before, self._first_kept))
        return len(gone)

    def _removed(self, old: Old) -> bool:
        """Remove the files of a run, if it may have any; tell whether it has none now."""
        try:
            if old.may_have_files:
                self._remove(old.ended.pipeline, old.run_id)
        except FpbusError as error:
            log.warning("could not remove the files of an old run", extra={"run_id": old.run_id, "reason": str(error)})
            return False
        return True

    def _due(self, before: datetime) -> list[Old]:
        """Return the oldest that were not looked at in this pass."""
        oldest = (
            sql.select(*[runs.c[name] for name in _FACTS])
            .where(
                runs.c.at < max(before, self._first_kept),
                runs.c.finished_at.is_not(None),
                sql.or_(runs.c.finished_at < before, runs.c.at < self._first_kept),
            )
            .order_by(runs.c.at, runs.c.run_id)
            .limit(BATCH)
        )
        if self._come_to is not None:
            at, run_id = self._come_to
            oldest = oldest.where(runs.c.at >= at, sql.or_(runs.c.at > at, runs.c.run_id > run_id))
        with self._database.read() as connection:
            return [_old(*facts) for facts in connection.execute(oldest)]

    def _newest(self) -> datetime:
        """Return when the oldest of the newest so many runs was accepted."""
        if self._most is None:
            return _NEVER
        last = sql.select(runs.c.at).order_by(runs.c.at.desc()).offset(self._most - 1).limit(1)
        with self._database.read() as connection:
            return connection.scalar(last) or _NEVER

    def _work(self) -> None:
        while not self._ending.is_set():
            try:
                # When nothing of many could be removed, the storage may be away: no reason to hurry.
                pause_s = _PAUSE_S if self.sweep(datetime.now(UTC)) and self._come_to else LOOK_EVERY_S
            except LeaseLostError:
                return
            except DatabaseError as error:  # whoever records is in the way
                log.info("will forget old runs later", extra={"reason": str(error)})
                pause_s = _RETRY_S
            self._ending.wait(pause_s)
