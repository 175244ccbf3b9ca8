"""The recorder's life: take what is at hand, commit it, give receipts, acknowledge.

Receipts leave before the acks, on the same connection: whoever dies in between has the events delivered
again and repeats the receipts, whereas a receipt lost behind an ack would be nobody's business any more.

One thread does all of it. While a batch cannot be committed it stays in hand and nothing else is taken, so
what waits is bounded by what the broker sends without an ack.
"""

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from fpbus.bus import Bus, Delivery, Inbox, TransportStoppedError, open_bus
from fpbus.lifecycle import ServicePresence, Settings, Stop, broker_of, run_service
from fpbus.project import ProjectError, RunFiles, find_project, load_project
from fpbus.schemas import Recorded, Role, RunResult, RunStatus, WireError, topics

from . import history
from .calls import HistoryCalls
from .database import Database, DatabaseError, history_url
from .gathering import BATCH, Gathering
from .handlers import Folded, fold, latest, read_event, receipts
from .lease import Lease, LeaseLostError
from .pace import Pace
from .retention import Retention
from .upgrade import upgrade

log = logging.getLogger(__name__)

RENEW_S: Final = 1.0
LATEST_S: Final = 1.0
RETRY_FIRST_S: Final = 0.1
RETRY_MAX_S: Final = 5.0


def serve(settings: Settings) -> None:
    """Run a recorder until it is told to stop. Raises what its settings are to blame for."""
    broker, instance, stop = broker_of(settings), settings.instance, Stop()
    database, lease = Database(history_url(settings)), Lease(Role.RECORDER, uuid.uuid4().hex)
    presence = ServicePresence(Role.RECORDER, instance, active=False)
    service = RecorderService(
        database=database,
        lease=lease,
        retention=_retention(settings, database, lease),
        ingress=open_bus(broker, "fpbus-recorder", root=settings.root, durable=True),
        desk=open_bus(broker, f"fpbus-recorder-{instance}", root=settings.root, presence=presence),
        presence=presence,
        stop=stop,
        instance=instance,
    )
    run_service(service, presence, stop, Role.RECORDER, instance)


def _retention(settings: Settings, database: Database, lease: Lease) -> Retention | None:
    """Return what forgets old runs, when the project's file says so; a recorder may do without a project."""
    try:
        folder = find_project(settings.project_dir)
    except ProjectError:
        return None
    project = load_project(folder)
    days, most = project.history.keep_days, project.history.keep_runs
    if days is None and most is None:
        return None
    files = RunFiles(settings.storage_url or f"file://{folder}/.fpbus/storage", project.storage_options)
    keep = None if days is None else timedelta(days=days)
    return Retention(database, lease, keep, files.remove, most)


@dataclass(frozen=True)
class Batch:
    """Deliveries in order of arrival, and the events in those that could be read."""

    deliveries: list[Delivery]
    events: list[RunStatus | RunResult]


_NOTHING: Final = Batch([], [])


class RecorderService:
    """Records while it holds the lease, and stands by until then.

    `ingress` has the role's durable session and is connected only with the lease. `desk` is this process' own
    connection: it shows its presence, and answers calls while it records.
    """

    def __init__(  # noqa: PLR0917 (all of them are parts)
        self,
        database: Database,
        lease: Lease,
        ingress: Bus,
        desk: Bus,
        presence: ServicePresence,
        stop: Stop,
        instance: str,
        retention: Retention | None = None,
    ) -> None:
        self._retention = retention
        self._database = database
        self._lease = lease
        self._ingress = ingress
        self._desk = desk
        self._presence = presence
        self._stop = stop
        self._instance = instance
        self._inbox = Inbox()
        self._gathering = Gathering(self._inbox)
        self._batch = _NOTHING
        self._pace = Pace(LATEST_S)
        self._opened = False
        self._active = False
        self._renew_at = 0.0
        self._retry_s = RETRY_FIRST_S
        self._ignored = 0
        self._settled = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)

    def start(self) -> None:
        """Connect, and return when this process records or stands by."""
        for bus in (self._desk, self._ingress):
            bus.on_taken_over(self._stop.request)
        self._ingress.on_session(self._forget_what_comes_again)
        self._ingress.subscribe(self._inbox, topics.STATUS, topics.RESULT)
        self._presence.attach(self._desk)
        self._desk.start()
        self._wait_connected(self._desk)
        self._thread.start()
        while not (self._settled.wait(0.05) or self._stop.requested):
            pass
        if self._active:
            self._wait_connected(self._ingress)

    def stop(self) -> None:
        """Finish the batch in hand, let the lease go, say goodbye. A second call does nothing."""
        self._ending.set()
        self._inbox.wake()
        if self._thread.is_alive():
            self._thread.join()
        if self._retention is not None:
            self._retention.stop()
        self._ingress.stop()
        self._release()
        self._presence.become("gone", active=False)
        self._desk.stop()
        self._database.close()

    def _wait_connected(self, bus: Bus) -> None:
        while not (bus.wait_connected(0.05) or self._stop.requested):
            pass

    def _forget_what_comes_again(self, session_present: bool) -> None:  # noqa: FBT001 (the hook's own shape)
        """Empty the inbox at a reconnect: the broker delivers all of it again."""
        while session_present and self._inbox.take(BATCH, 0.0):
            pass

    def _release(self) -> None:
        if not self._active:
            return
        try:
            with self._database.write() as connection:
                self._lease.release(connection)
        except DatabaseError as error:
            log.warning("left the lease to run out", extra={"reason": str(error)})

    # What follows runs on the recorder's thread.

    def _work(self) -> None:
        while not self._ending.is_set():
            try:
                self._step()
                self._be_well()
            except (LeaseLostError, TransportStoppedError) as error:
                self._stop.request(str(error))
                return
            except DatabaseError as error:
                self._stumble(str(error))
            except Exception:
                log.exception("recording stumbled")
                self._stumble("an error of our own; its log tells")
        with contextlib.suppress(DatabaseError, TransportStoppedError):
            self._tell_latest(self._pace.held_back())

    def _step(self) -> None:
        if not self._opened:
            self._database.open()
            self._opened = True
        if not self._active:
            self._apply()
            return
        if not self._batch.deliveries:
            self._batch = _read(self._gathering.take(self._patience_s()))
        if self._batch.deliveries or time.monotonic() >= self._renew_at:
            self._record()
        self._tell_latest(self._pace.due(time.monotonic()))

    def _apply(self) -> None:
        """Ask for the lease; without it stand by, and ask again later."""
        with self._database.write() as connection:
            acquired = self._lease.acquire(connection, time.time())
            if acquired:
                upgrade(connection)
        if acquired:
            self._become_active()
        self._settled.set()
        if not acquired:
            self._ending.wait(RENEW_S)

    def _become_active(self) -> None:
        self._active = True
        self._renew_at = time.monotonic() + RENEW_S
        self._ingress.start()
        self._desk.answer(Role.RECORDER, self._instance, HistoryCalls(self._database).verbs())
        if self._retention is not None:
            self._retention.start()
        self._presence.become("ready", active=True)
        log.info("took the lease")

    def _patience_s(self) -> float:
        now = time.monotonic()
        until_latest = self._pace.wait_s(now)
        until_renewal = max(0.0, self._renew_at - now)
        return until_renewal if until_latest is None else min(until_latest, until_renewal)

    def _record(self) -> None:
        """Commit the batch in hand, which may be empty: then only the lease is renewed."""
        batch = self._batch
        with self._database.write() as connection:
            self._lease.renew(connection, time.time())  # first: it takes the write lock, and is the fence
            known = history.find(connection, {event.run_id for event in batch.events}) if batch.events else {}
            folded = fold(known, batch.events)
            history.put(connection, folded.rows, known)
        self._renew_at = time.monotonic() + RENEW_S
        self._confirm(batch, folded)
        self._batch = _NOTHING

    def _confirm(self, batch: Batch, folded: Folded) -> None:
        given = receipts(batch.events)
        with self._ingress.together():
            if given:
                self._ingress.publish(topics.RECORDED, Recorded(receipts=given))
            self._ingress.ack(*batch.deliveries)
        for result in folded.ignored:
            self._ignored += 1
            facts = {"run_id": result.run_id, "attempt": result.attempt, "ignored": self._ignored}
            log.warning("ignored a result: the run has another end, or a later attempt", extra=facts)
        for event in batch.events:
            if isinstance(event, RunResult):
                self._pace.want(event.pipeline)

    def _tell_latest(self, pipelines: list[str]) -> None:
        # Read from the table, so that a repeat of an old result never hides a newer one.
        for pipeline in pipelines:
            with self._database.read() as connection:
                row = history.last_finished(connection, pipeline)
            if row is not None:
                self._ingress.publish(topics.latest(pipeline), latest(row), retain=True)
            self._pace.told(pipeline, time.monotonic())

    def _stumble(self, reason: str) -> None:
        """Say what is wrong, and wait; the batch stays in hand."""
        if self._retry_s == RETRY_FIRST_S:
            log.warning("not recording", extra={"reason": reason})
        self._presence.become("degraded", reason)
        self._database.close()  # what replaced a lost file or server is found by new connections only
        self._opened = False
        self._ending.wait(self._retry_s)
        self._retry_s = min(RETRY_MAX_S, 2 * self._retry_s)

    def _be_well(self) -> None:
        self._retry_s = RETRY_FIRST_S
        if self._presence.state == "degraded":
            self._presence.become("ready")
            log.info("recording again")


def _read(deliveries: list[Delivery]) -> Batch:
    return Batch(deliveries, list(_events(deliveries)))


def _events(deliveries: list[Delivery]) -> Iterator[RunStatus | RunResult]:
    for delivery in deliveries:
        try:
            yield read_event(delivery)
        except WireError as error:
            log.warning("skipped an unreadable message", extra={"topic": delivery.topic, "reason": str(error)})
