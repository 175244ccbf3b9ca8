"""The scheduler: when a slot is due, its run is asked for like anyone would, on `pipelines/{name}/run`.

Nothing is remembered on disk and nobody is elected: the run's id is derived from schedule and due time, so two
schedulers, or one that was restarted, ask for the same runs, and the dispatcher makes one of each.

    APScheduler's thread -> due slots -> one thread: publish, hear `accepted`, send again, read the project again
"""

import logging
import queue
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Final

from fpbus.bus import Bus, CallError, Delivery, Inbox, TransportStoppedError
from fpbus.lifecycle import ServicePresence, Stop
from fpbus.project import load_pipelines, load_project, stamp
from fpbus.schemas import CallCode, CallFailure, FpbusError, Rejection, Role, WireError, decode, topics

from .calls import Explain, Explained, ListSchedules, ScheduleInfo, Schedules
from .handlers import PlannedSchedule, Slot, on_waking, plan, slot_of
from .pending import Pending
from .timer import Timer

log = logging.getLogger(__name__)

RESEND_S: Final = 10.0
LOOK_S: Final = 2.0
TICK_S: Final = 0.5
BATCH: Final = 256


class SchedulerService:
    """One scheduler process. Without `activate` it times nothing, and answers calls all the same."""

    def __init__(
        self,
        folder: Path,
        bus: Bus,
        presence: ServicePresence,
        stop: Stop,
        instance: str,
        *,
        activate: bool,
        resend_s: float = RESEND_S,
    ) -> None:
        self._folder = folder
        self._bus = bus
        self._presence = presence
        self._stop = stop
        self._instance = instance
        self._activate = activate
        self._stamp = stamp(folder)
        self._looked_at_s = time.monotonic()
        self._plan = _read(folder)
        self._timer = Timer(self._on_due)
        self._due: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        self._pending = Pending(resend_s)
        self._inbox = Inbox()
        self._watched: set[str] = set()
        self._thread = threading.Thread(target=self._guarded_run, name="scheduler", daemon=True)
        presence.attach(bus)

    def start(self) -> None:
        """Begin to time at once; return when the broker is there, to whom slots that fell due meanwhile then go."""
        self._bus.on_taken_over(self._stop.request)
        self._bus.subscribe(self._inbox, topics.REJECTED)
        self._bus.answer(
            Role.SCHEDULER,
            self._instance,
            {"list": (ListSchedules, self._answer_list), "explain": (Explain, self._answer_explain)},
        )
        self._bus.start()
        self._timer.start()
        self._adopt(self._plan)
        self._thread.start()
        while not self._stop.requested and not self._bus.wait_connected(0.1):
            pass

    def stop(self) -> None:
        """Let nothing fall due any more, publish what did, then say goodbye."""
        self._timer.stop()
        self._stop.request()
        self._inbox.wake()
        if self._thread.is_alive():
            self._thread.join(5.0)
        self._presence.become("gone", active=False)
        self._bus.stop()

    def _adopt(self, schedules: list[PlannedSchedule]) -> None:
        """Make a plan the one in force. Schedules that it shares with the one before go on undisturbed."""
        self._plan = schedules
        active = [schedule for schedule in schedules if self._is_active(schedule)]
        self._watch({schedule.pipeline for schedule in active})
        self._timer.keep(active)
        if self._activate:
            log.info("activated schedules", extra={"active": len(active), "planned": len(schedules)})
        else:
            log.info("left schedules alone; `fpbus up --schedule` activates them", extra={"planned": len(schedules)})

    def _is_active(self, schedule: PlannedSchedule) -> bool:
        return self._activate and schedule.enabled

    def _watch(self, pipelines: set[str]) -> None:
        """Hear what becomes of the runs of these pipelines."""
        for name in sorted(pipelines - self._watched):
            self._bus.subscribe(self._inbox, topics.status(name, "+"), topics.rejected(name))
        self._watched |= pipelines

    # APScheduler's thread.

    def _on_due(self, schedule: PlannedSchedule, due_times: Sequence[datetime]) -> None:
        fire, skipped = on_waking(schedule, due_times, datetime.now(UTC))
        if skipped:
            log.warning("woke late and skipped slots", extra={"schedule": schedule.id, "skipped": skipped})
        for due in fire:
            self._due.put(slot_of(schedule, due))
        self._inbox.wake()

    # The one thread.

    def _guarded_run(self) -> None:
        try:
            while not self._stop.requested:
                self._hear(self._inbox.take(BATCH, TICK_S))
                self._fire()
                self._send_again()
                self._look()
            self._fire()
        except TransportStoppedError:
            pass  # taken over, or told to stop while the broker is away
        except Exception:
            log.exception("the scheduler stumbled")
            self._stop.request("an error of its own; see the log")

    def _fire(self) -> None:
        while not self._due.empty():
            slot = self._due.get()
            self._publish(slot)
            self._pending.add(slot, time.monotonic())
            log.info("fired", extra={"pipeline": slot.pipeline, "run_id": slot.run_id})

    def _publish(self, slot: Slot) -> None:
        self._bus.publish(topics.run(slot.pipeline), slot.request)

    def _hear(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            if delivery.topic.endswith("/status"):
                self._pending.confirm(delivery.topic.split("/")[3])  # whatever it says, the run is known
            else:
                self._hear_rejection(delivery)
            self._bus.ack(delivery)

    def _hear_rejection(self, delivery: Delivery) -> None:
        try:
            rejection = decode(delivery.payload, Rejection)
        except WireError as error:
            log.warning("skipped a rejection", extra={"topic": delivery.topic, "reason": str(error)})
            return
        slot = self._pending.refuse(rejection.digest)
        if slot is not None:
            facts = {"pipeline": slot.pipeline, "run_id": slot.run_id, "code": str(rejection.code)}
            log.error("the dispatcher rejected a slot: %s", rejection.message, extra=facts)

    def _send_again(self) -> None:
        if not self._bus.connected:
            return
        now_s = time.monotonic()
        given_up = self._pending.give_up(now_s)
        if given_up:
            facts = {"slots": len(given_up), "first": given_up[0].run_id, "last": given_up[-1].run_id}
            log.error("heard nothing of slots that were fired; they are not sent again", extra=facts)
        again = self._pending.send_again(now_s)
        for slot in again:
            self._publish(slot)
        if again:
            log.info("sent again what nobody has accepted", extra={"slots": len(again)})

    def _look(self) -> None:
        """Read the project again when a file has changed; one that is broken leaves the plan as it is."""
        if time.monotonic() - self._looked_at_s < LOOK_S:
            return
        self._looked_at_s = time.monotonic()
        self._timer.look()
        current = stamp(self._folder)
        if current == self._stamp:
            return
        self._stamp = current
        try:
            schedules = _read(self._folder)
        except FpbusError as error:
            log.error("kept the schedules as they were: %s", error)
            self._presence.become("degraded", str(error))
            return
        self._presence.become("ready")
        if schedules != self._plan:
            self._adopt(schedules)

    # Calls, on a thread of their own.

    def _answer_list(self, _list: ListSchedules) -> Schedules:
        return Schedules(schedules=[self._info(schedule) for schedule in self._plan])

    def _answer_explain(self, explain: Explain) -> Explained:
        schedule = next((one for one in self._plan if one.pipeline == explain.pipeline), None)
        if schedule is None:
            message = f"The pipeline {explain.pipeline!r} has no schedule in this project."
            hint = f"Give it one: `schedule:` in conf/pipelines/{explain.pipeline}.yml"
            raise CallError(CallFailure(code=CallCode.NOT_FOUND, message=message, hint=hint, field="$.pipeline"))
        due = schedule.trigger.due_times(datetime.now(UTC))
        return Explained(schedule=self._info(schedule), due=list(islice(due, explain.count)))

    def _info(self, schedule: PlannedSchedule) -> ScheduleInfo:
        active = self._is_active(schedule)
        return ScheduleInfo(
            id=schedule.id,
            pipeline=schedule.pipeline,
            trigger=str(schedule.trigger),
            timezone=schedule.timezone,
            active=active,
            next_due=schedule.trigger.next_after(datetime.now(UTC)) if active else None,
        )


def _read(folder: Path) -> list[PlannedSchedule]:
    return plan(load_pipelines(folder), load_project(folder))
