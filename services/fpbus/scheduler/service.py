"""The scheduler: when a slot is due, its run is asked for like anyone would, on `pipelines/{name}/run`.

Any number may time the same store. The run's id is derived from schedule and due time, so two schedulers, or one that
was restarted, ask for the same runs, and the dispatcher makes one of each. One of them answers calls (`desk`).

    APScheduler -> wake -> one thread: what is due? publish, hear `accepted`, send again, store how far it has come

That thread alone has the agenda; callers change the store, and it looks there for changes.
"""

import logging
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from fpbus.bus import Bus, Delivery, Inbox, TransportStoppedError
from fpbus.lifecycle import ServicePresence, Stop
from fpbus.project import load_project
from fpbus.schemas import CallFailure, Rejection, RejectionCode, ScheduleAll, WireError, decode, topics

from .agenda import Agenda
from .asking import Asking
from .calls import ScheduleCalls
from .database import StoreError
from .desk import Desk
from .handlers import Slot, on_waking, slot_of
from .pending import Pending
from .planning import ScheduleError, planned
from .progress import Progress
from .store import Store, Stored, Version
from .timer import Timer

log = logging.getLogger(__name__)

RESEND_S: Final = 10.0
LOOK_S: Final = 1.0
SAVE_S: Final = 1.0
TICK_S: Final = 0.5
BATCH: Final = 256


class SchedulerService:
    """One scheduler process. With `activate` it begins by making the store agree with the pipelines' files."""

    def __init__(  # noqa: PLR0917 (all of them are parts)
        self,
        folder: Path,
        store: Store,
        bus: Bus,
        presence: ServicePresence,
        stop: Stop,
        instance: str,
        *,
        activate: bool,
        look_s: float = LOOK_S,
        resend_s: float = RESEND_S,
    ) -> None:
        self._store = store
        self._bus = bus
        self._presence = presence
        self._stop = stop
        self._activate = activate
        self._look_s = look_s
        self._dedup_window = timedelta(seconds=load_project(folder).limits.dedup_window_s)
        self._inbox = Inbox()
        self._calls = ScheduleCalls(folder, store, self._look_now)
        self._desk = Desk(bus, store, instance, self._calls.verbs())
        self._timer = Timer(self._inbox.wake)
        self._asking = Asking(bus, self._inbox.wake)
        self._agenda, self._pending, self._progress = Agenda(), Pending(resend_s), Progress()
        self._seen = Version()
        self._look_at_s = self._save_at_s = 0.0
        self._watched: set[str] = set()
        self._trouble: str | None = None
        self._thread = threading.Thread(target=self._guarded_run, name="scheduler", daemon=True)
        presence.attach(bus)

    def start(self) -> None:
        """Begin to time; return when the broker is there, to whom slots that fell due meanwhile then go."""
        self._bus.on_taken_over(self._stop.request)
        self._bus.subscribe(self._inbox, topics.REJECTED)
        self._bus.start()
        self._open_store()
        if self._stop.requested:
            return
        if self._activate:
            self._activate_files()
        self._timer.start()
        self._look()
        self._desk.start()
        self._thread.start()
        for ready in (self._bus.wait_connected, self._desk.wait_settled):
            while not self._stop.requested and not ready(0.1):
                pass

    def stop(self) -> None:
        """Let nothing fall due any more, publish what did, remember how far we came, then say goodbye."""
        self._timer.stop()
        self._stop.request()
        self._inbox.wake()
        self._desk.stop()
        if self._thread.is_alive():
            self._thread.join(5.0)
        self._asking.stop()
        self._presence.become("gone", active=False)
        self._bus.stop()
        self._store.close()

    def _open_store(self) -> None:
        """Return when the store is there; say so while it is not."""
        while not self._stop.requested:
            try:
                self._store.open()
            except StoreError as error:
                self._stumble(error)
                self._stop.wait(self._look_s)
            else:
                self._trouble = None
                return

    def _activate_files(self) -> None:
        report = self._calls.activate(ScheduleAll())
        log.info("activated schedules", extra={name: len(getattr(report, name)) for name in report.__struct_fields__})
        if report.conflicts:
            log.warning("left alone what was scheduled by a call", extra={"ids": ", ".join(report.conflicts)})

    # The one thread.

    def _guarded_run(self) -> None:
        try:
            while not self._stop.requested:
                self._step()
            self._fire()
            self._hear(self._inbox.take(BATCH, 0.0))
            self._save()
        except TransportStoppedError:
            pass  # taken over, or told to stop while the broker is away
        except Exception:
            log.exception("the scheduler stumbled")
            self._stop.request("an error of its own; see the log")

    def _step(self) -> None:
        self._timer.set(self._agenda.head())
        self._hear(self._inbox.take(BATCH, TICK_S))
        self._fire()
        self._hear_answers()
        self._send_again()
        now_s = time.monotonic()
        if now_s >= self._look_at_s:
            self._look_at_s = now_s + self._look_s
            self._look()
        if now_s >= self._save_at_s:
            self._save_at_s = now_s + SAVE_S
            self._save()
        self._say_how_we_are()

    def _fire(self) -> None:
        # The clock is read, not the alarm believed: it may have been set, and machines sleep.
        now = datetime.now(UTC)
        for schedule, after in self._agenda.pop_due(now):
            waking = on_waking(schedule, after, now)
            if waking.skipped:
                facts = {"schedule": schedule.id, "skipped": waking.skipped, "fired": len(waking.fire)}
                log.warning("skipped slots that were missed", extra=facts | {"policy": schedule.spec.misfire})
            self._progress.passed(schedule.id, now, waking.fire)
            for due in waking.fire:
                self._fire_slot(slot_of(schedule, due, self._dedup_window))

    def _fire_slot(self, slot: Slot) -> None:
        self._send(slot)
        self._pending.add(slot, time.monotonic())
        log.info("fired", extra={"schedule": slot.schedule_id, "pipeline": slot.pipeline, "run_id": slot.run_id})

    def _send(self, slot: Slot) -> None:
        if slot.by_call:
            self._asking.ask(slot)
        else:
            self._bus.publish(topics.run(slot.pipeline), slot.request)

    def _hear(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            if delivery.topic.endswith("/status"):
                self._settle(delivery.topic.split("/")[3])  # whatever it says, the run is known
            else:
                self._hear_rejection(delivery)
            self._bus.ack(delivery)

    def _hear_rejection(self, delivery: Delivery) -> None:
        try:
            rejection = decode(delivery.payload, Rejection)
        except WireError as error:
            log.warning("skipped a rejection", extra={"topic": delivery.topic, "reason": str(error)})
            return
        run_id = self._pending.find(rejection.digest)
        if run_id is not None:
            self._refused(run_id, rejection.code, rejection.message)

    def _hear_answers(self) -> None:
        for run_id, refusal in self._asking.answers():
            if refusal is None:
                self._settle(run_id)
            else:
                self._refused(run_id, _code_of(refusal), refusal.message)

    def _refused(self, run_id: str, code: str, message: str) -> None:
        if code == RejectionCode.CONFLICT:  # it is there, asked for with the settings that the schedule had then
            self._settle(run_id)
            return
        slot = self._settle(run_id, f"{code}: {message}")
        if slot is not None:
            facts = {"schedule": slot.schedule_id, "pipeline": slot.pipeline, "run_id": run_id, "code": code}
            log.error("the dispatcher rejected a slot: %s", message, extra=facts)

    def _settle(self, run_id: str, error: str | None = None) -> Slot | None:
        slot = self._pending.settle(run_id)
        if slot is not None:
            self._progress.settled(slot, error)
        return slot

    def _send_again(self) -> None:
        if not self._bus.connected:
            return
        now_s = time.monotonic()
        given_up = self._pending.give_up(now_s)
        for slot in given_up:
            self._progress.settled(slot, f"unavailable: nobody accepted the run {slot.run_id}.")
        if given_up:
            facts = {"slots": len(given_up), "first": given_up[0].run_id, "last": given_up[-1].run_id}
            log.error("heard nothing of slots that were fired; they are not sent again", extra=facts)
        again = self._pending.send_again(now_s)
        for slot in again:
            self._send(slot)
        if again:
            log.info("sent again what nobody has accepted", extra={"slots": len(again)})

    # The store.

    def _look_now(self) -> None:
        self._look_at_s = 0.0
        self._inbox.wake()

    def _look(self) -> None:
        """Take over what has changed in the store."""
        try:
            version = self._store.version()
            if version == self._seen:
                self._trouble = None
                return
            changed = self._store.changed_since(self._seen)
            gone = set(self._agenda) - self._store.ids() if version.removed != self._seen.removed else set[str]()
        except StoreError as error:
            self._stumble(error)
            return
        self._seen = version
        self._adopt(changed, gone)

    def _adopt(self, changed: Sequence[Stored], gone: set[str]) -> None:
        for schedule_id in gone:
            self._agenda.remove(schedule_id)
        for stored in changed:
            self._agenda.remove(stored.spec.id) if stored.spec.paused else self._time(stored)
        if not changed and not gone:
            return
        self._watch(self._agenda.pipelines())
        log.info("read schedules", extra={"changed": len(changed), "removed": len(gone), "active": len(self._agenda)})

    def _time(self, stored: Stored) -> None:
        try:
            self._agenda.put(planned(stored.spec), stored.fired_until)
        except ScheduleError as error:
            self._agenda.remove(stored.spec.id)
            log.error("cannot time the schedule %s: %s", stored.spec.id, error)

    def _save(self) -> None:
        marks = self._progress.take()
        try:
            self._store.save(marks)
        except StoreError as error:
            self._progress.put_back(marks)
            self._stumble(error)

    def _watch(self, pipelines: set[str]) -> None:
        """Hear what becomes of the runs of these pipelines."""
        for name in sorted(pipelines - self._watched):
            self._bus.subscribe(self._inbox, topics.status(name, "+"), topics.rejected(name))
        self._watched |= pipelines

    def _stumble(self, error: StoreError) -> None:
        """Go on with the schedules that we know."""
        if self._trouble is None:
            log.warning("the store is away", extra={"reason": str(error)})
        self._trouble = str(error)
        self._presence.become("degraded", self._trouble)

    def _say_how_we_are(self) -> None:
        if self._presence.state in {"ready", "degraded"}:
            self._presence.become("degraded" if self._trouble else "ready", self._trouble, active=self._desk.active)


def _code_of(failure: CallFailure) -> str:
    return failure.detail or failure.code
