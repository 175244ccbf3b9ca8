"""The dispatcher: whether a message becomes a run, and where it waits.

One thread does everything that touches Redis. The active dispatcher holds a lease there, whose token every
script checks, and the broker's durable session `fpbus-dispatcher`; a standby waits for both. Whoever loses the
lease, or is taken over on the broker, drops what it has in hand, acknowledges nothing, and stops.

    message -> decide -> one script: ledger + job -> `accepted` -> ack

Receipts of the recorder come on the presence connection, never behind messages that wait for room in a full
Redis: it is they that make the room. One that is missed comes again, because its result is published again.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from msgspec.structs import replace
from redis import RedisError
from redis.exceptions import OutOfMemoryError

from fpbus.bus import Answerer, Delivery, Inbox, WakingInbox, open_bus
from fpbus.lifecycle import ServicePresence, Settings, Stop, broker_of
from fpbus.schemas import (
    FpbusError,
    Recorded,
    Role,
    RunResult,
    RunState,
    RunStatus,
    ServiceStatus,
    WireError,
    decode,
    encode,
    topics,
)
from fpbus.schemas.cloud_events import CLOUD_EVENT, result_event
from fpbus.schemas.queue import RunJob
from fpbus.triggers import CodecProcess

from .calls import DispatcherCalls
from .catalog import Catalog
from .closing import Closing
from .contracts import Contracts
from .devices import Devices
from .document import BusDocument
from .following import Following
from .handlers import Rules, expired_result, lost_result
from .ingress import Ingress
from .overflow import Overflow
from .pressure import PressureGauge
from .queue import REMEMBERED_DELIVERIES, FencedError, Lost, Outcome, RunQueue, Submission
from .reconciling import Reconciler
from .refusing import Refuser
from .windows import Entry, Taken

log = logging.getLogger(__name__)

BATCH: Final = 256
MOST_RECEIPTS: Final = 256
TICK_S: Final = 0.5
BUSY_S: Final = 0.008
GATHER_S: Final = 0.004
BACKOFF_FIRST_S: Final = 0.05
BACKOFF_MAX_S: Final = 2.0


T = TypeVar("T")


class _Stopped(Exception):  # noqa: N818 (a way out, not an error)
    """The process is to end while work is in hand; what is not acknowledged will be delivered again."""


class DispatcherService:
    """One dispatcher process, active or standby."""

    def __init__(
        self, settings: Settings, queue: RunQueue, catalog: Catalog, presence: ServicePresence, stop: Stop
    ) -> None:
        self._settings = settings
        self._queue = queue
        self._catalog = catalog
        self._presence = presence
        self._stop = stop
        self._inbox = Inbox()
        self._rivals = Inbox()
        self._receipts = Inbox()
        self._ends = WakingInbox(self._inbox.wake)
        self._followed: set[str] = set()
        self._gone_token = ""
        self._ticked_at = 0.0
        self._handled_at = 0.0
        self._new_session = False
        self._rules_in_force: Rules | None = None
        self._refusal: FpbusError | None = None
        self._working = threading.Event()
        self._thread = threading.Thread(target=self._guarded_run, name="dispatcher", daemon=True)
        broker = broker_of(settings)
        self._presence_bus = open_bus(
            broker, f"fpbus-dispatcher-{settings.instance}", root=settings.root, presence=presence
        )
        presence.attach(self._presence_bus)
        self._bus = open_bus(broker, "fpbus-dispatcher", root=settings.root, durable=True)
        refuser = Refuser(self._bus, catalog)
        self._codecs = CodecProcess(settings.project_dir)
        self._contracts = Contracts(self._presence_bus, lambda: catalog.rules.source)
        self._document = BusDocument(self._bus)
        self._pressure = PressureGauge(self._bus, queue)
        check = self._contracts.check
        self._devices = Devices(self._bus, self._inbox, refuser, check, self._codecs)
        self._ingress = Ingress(self._bus, catalog, self._devices, refuser, check, self._submit_held, self._take_held)
        calls = DispatcherCalls(self._bus, queue, catalog, self._ingress, self._submit, check, self._publish_end)
        self._overflow = Overflow(queue, self._publish_end, calls.nudge)
        self._reconciler = Reconciler(queue, self._publish_end)
        self._closing = Closing(self._bus, queue, queue.submit)
        self._following = Following(self._bus, queue, queue.submit, lambda: catalog.rules)
        self._calls = Answerer(self._bus, Role.DISPATCHER, settings.instance, calls.verbs())

    def start(self) -> None:
        """Return when this dispatcher is active, or stands by. Raises `FpbusError` for a setting that is to blame."""
        self._presence_bus.subscribe(self._rivals, topics.presence(Role.DISPATCHER, "+"))
        self._presence_bus.start()
        self._thread.start()
        while not self._stop.requested and not self._working.wait(0.1):
            pass
        if self._refusal is not None:
            raise self._refusal

    def stop(self) -> None:
        """Finish what is in hand, then give up lease and session."""
        self._stop.request()
        self._inbox.wake()
        if self._thread.is_alive():
            self._thread.join()
        self._bus.stop()
        if self._stop.reason is None:
            self._try_to_release()
        self._queue.close()
        self._codecs.stop()
        self._presence.become("gone", active=False)
        self._presence_bus.stop()

    def _try_to_release(self) -> None:
        try:
            self._queue.release_lease()
        except RedisError as error:
            log.info("left the lease to run out", extra={"reason": str(error)})

    # The one thread.

    def _guarded_run(self) -> None:
        try:
            self._held(self._queue.check_server)
            self._stand_by()
            if not self._stop.requested:
                self._go_active()
                self._serve()
        except _Stopped:
            pass
        except FpbusError as refusal:
            self._refusal = refusal
            self._stop.request()
        except FencedError:
            self._stop.request("another dispatcher holds the lease now")
        except Exception:
            log.exception("the dispatcher stumbled")
            self._stop.request("an error of its own; see the log")

    def _stand_by(self) -> None:
        """Return when the lease is ours."""
        announced = False
        while not self._stop.requested:
            if self._held(lambda: self._queue.hold_lease(self._gone_token)):
                return
            if not announced:
                announced = True
                log.info("another dispatcher is active; standing by")
                self._presence.become("ready", active=False)
                self._working.set()
            self._watch_rivals(TICK_S)

    def _watch_rivals(self, patience_s: float) -> None:
        """Wait for the end of the active dispatcher: its will names the lease that can be inherited."""
        self._contracts.hear()
        for delivery in self._rivals.take(16, patience_s):
            self._presence_bus.ack(delivery)
            try:
                status = decode(delivery.payload, ServiceStatus)
            except WireError:
                continue
            if not status.online and status.lease:
                self._gone_token = status.lease

    def _go_active(self) -> None:
        self._presence.become("init", active=True)
        self._bus.on_taken_over(self._stop.request)
        self._bus.on_session(self._on_session)
        self._presence_bus.subscribe(self._receipts, topics.RECORDED)
        self._bus.subscribe(self._inbox, topics.RUN, *topics.DEEPER_RUNS, topics.calls_to(Role.DISPATCHER))
        self._follow_triggers(self._catalog.look())  # before: the broker sends what waits as soon as we are there
        self._bus.start()
        while not self._bus.wait_connected(0.5):
            if self._stop.requested:
                raise _Stopped
            self._held(self._queue.hold_lease)
        self._held(lambda: self._put_limits(self._catalog.look()))
        self._presence.become("ready", active=True)
        self._working.set()

    def _on_session(self, session_present: bool) -> None:  # noqa: FBT001 (the hook's own shape)
        if not session_present:
            self._new_session = True

    def _serve(self) -> None:
        while not self._stop.requested:
            batch = self._gather()
            if batch:
                self._handle(batch)
                self._handled_at = time.monotonic()
            if time.monotonic() - self._ticked_at >= TICK_S:
                self._ticked_at = time.monotonic()
                self._unless_redis_is_away(self._tick)
            elif self._ends.take(MOST_RECEIPTS, 0.0):
                self._unless_redis_is_away(self._following.settle)
            elif self._closing.due:
                self._unless_redis_is_away(self._closing.settle)

    def _unless_redis_is_away(self, act: Callable[[], None]) -> None:
        """Do something in Redis; while it is away go on serving, so that who calls is told `unavailable` at once."""
        try:
            try:
                act()
            except FencedError:
                if not self._queue.hold_lease():
                    raise
        except RedisError as error:
            self._degrade(error)
        else:
            self._be_well()

    def _gather(self) -> list[Delivery]:
        """Take what is there; when messages follow each other closely, wait a little for more of them.

        A script, a wake-up and a write cost the same for many as for one. A message after a pause waits for nothing.
        """
        batch = self._inbox.take(BATCH, self._closing.wait_s(TICK_S))
        if batch and time.monotonic() - self._handled_at < BUSY_S:
            self._stop.wait(GATHER_S)
            batch += self._inbox.take(BATCH - len(batch), 0.0)
        return batch

    def _handle(self, batch: Sequence[Delivery]) -> None:
        self._contracts.hear()
        runs: list[Delivery] = []
        for delivery in batch:
            if delivery.topic.startswith("fpbus/call/") and not delivery.outside:
                self._calls.answer(delivery)
            elif delivery.outside or topics.pipeline_of_run_topic(delivery.topic) is not None:
                runs.append(delivery)
        if runs:
            self._ingress.handle(runs)
        self._bus.ack(*batch)

    def _submit_held(self, submissions: Sequence[Submission]) -> list[Outcome]:
        return self._held(lambda: self._submit(submissions))

    def _take_held(self, entries: Sequence[Entry]) -> list[Taken]:
        def take() -> list[Taken]:
            if self._new_session:
                self._queue.forget_deliveries()
                self._new_session = False
            return self._queue.windows.take(entries, remembered=self._queue.remembered_deliveries)

        return self._held(take)

    def _submit(self, submissions: Sequence[Submission]) -> list[Outcome]:
        if self._new_session:
            self._queue.forget_deliveries()
            self._new_session = False
        try:
            return self._queue.submit(submissions)
        except OutOfMemoryError:
            self._tick()  # what frees memory goes on meanwhile
            raise

    def _held(self, act: Callable[[], T]) -> T:
        """Do something in Redis; while Redis is away hold what is in hand and try again, degraded."""
        delay = BACKOFF_FIRST_S
        while True:
            try:
                result = act()
            except FencedError:
                if not self._held(self._queue.hold_lease):
                    raise
                continue  # it had run out while Redis was away, and nobody took it
            except RedisError as error:
                self._degrade(error)
                if self._stop.wait(delay):
                    raise _Stopped from error
                delay = min(BACKOFF_MAX_S, delay * 2)
                continue
            self._be_well()
            return result

    def _degrade(self, error: RedisError) -> None:
        if self._presence.state != "degraded":
            log.warning("waiting for Redis", extra={"reason": str(error)})
        self._presence.become("degraded", f"Redis: {error}")

    def _be_well(self) -> None:
        """Say that all is well again, or what is wrong with the project's files: the last good ones are in use."""
        trouble = self._catalog.trouble
        if trouble is not None:
            self._presence.become("degraded", trouble)
        elif self._presence.state == "degraded":
            self._presence.become("ready")

    def _tick(self) -> None:
        """Keep the lease; queue what is due; settle what was lost; publish again what nobody recorded."""
        if not self._queue.hold_lease():
            raise FencedError
        self._put_limits(self._catalog.look())
        self._watch_rivals(0.0)
        self._document.tell(self._catalog.rules, self._contracts.schemas)
        self._forget_recorded()
        for job in self._queue.promote():
            self._tell_status(job, RunState.QUEUED)
        self._expire()
        self._pressure.tell()
        self._overflow.settle(self._catalog.rules.pipelines)
        for lost in self._queue.lapsed():
            self._settle(lost)
        self._reconciler.settle()
        for payload in self._queue.unrecorded():
            self._publish_again(decode(payload, RunResult))
        self._queue.count_messages(self._devices.take_counts())
        self._closing.settle()  # last, because a full Redis refuses new runs
        self._following.settle()

    def _expire(self) -> None:
        """End what waits longer than it may, also where no worker is that would find out."""
        now = datetime.now(UTC)
        runs = [(job, expired_result(job, attempt, now)) for job, attempt in self._queue.overdue()]
        for (job, result), ended in zip(runs, self._queue.expire(runs) if runs else [], strict=True):
            if ended:
                self._publish_end(job, result)

    def _put_limits(self, rules: Rules) -> None:
        """Have changed files hold for what waits already."""
        if rules is not self._rules_in_force:
            self._queue.put_limits({name: pipeline.limits for name, pipeline in rules.pipelines.items()})
            self._listen_for_ends(rules)
            self._follow_triggers(rules)
            self._rules_in_force = rules

    def _follow_triggers(self, rules: Rules) -> None:
        self._devices.follow(rules)
        self._queue.remembered_deliveries = REMEMBERED_DELIVERIES * self._devices.runs_per_message
        self._queue.windows.batch_bytes = rules.limits.payload_bytes

    def _listen_for_ends(self, rules: Rules) -> None:
        """Be woken when a run ends that others follow, so that those need not wait for the next tick."""
        followed = {name for name, pipeline in rules.pipelines.items() if pipeline.on_success or pipeline.on_failure}
        new = [topics.result(name, "+") for name in followed - self._followed]
        if new:
            self._presence_bus.subscribe(self._ends, *new, qos=0)
            self._followed |= followed

    def _publish_again(self, result: RunResult) -> None:
        found = self._queue.find(result.run_id)
        job = found[1] if found else None
        self._publish_end(job, result)

    def _forget_recorded(self) -> None:
        """Let go of the results that the recorder has by now; its receipts are acknowledged after that."""
        deliveries = self._receipts.take(MOST_RECEIPTS, 0.0)
        run_ids = [run_id for delivery in deliveries for run_id in _recorded_runs(delivery)]
        if run_ids:
            self._queue.forget(run_ids)
        self._presence_bus.ack(*deliveries)

    def _settle(self, lost: Lost) -> None:
        now = datetime.now(UTC)
        execution, job = lost.execution, lost.job
        result = lost_result(job, execution.attempt, lost.lost_before, now, lost.account)
        outcome = self._queue.settle(lost, result)
        if outcome == "LATE":
            return
        facts = {"run_id": job.run_id, "attempt": execution.attempt, "worker": execution.worker, "then": outcome}
        log.warning("lost a worker in the middle of a run", extra=facts)
        if result is not None:
            self._publish_end(job, result)
            return
        reason = "The worker was lost; the run is queued again."
        self._tell_status(job, RunState.LOST, attempt=execution.attempt, runner=execution.worker, reason=reason)

    def _tell_status(self, job: RunJob, state: RunState, **facts: Any) -> None:
        status = RunStatus(
            run_id=job.run_id,
            pipeline=job.pipeline,
            state=state,
            at=datetime.now(UTC),
            traceparent=job.traceparent,
            **facts,
        )
        self._bus.publish(topics.status(job.pipeline, job.run_id), status)

    def _publish_end(self, job: RunJob | None, result: RunResult) -> None:
        """Publish a result, also where its publisher wants the answer, as far as the job is still known."""
        self._bus.publish(topics.result(result.pipeline, result.run_id), result, traceparent=result.traceparent)
        if job is None or job.request.reply_to is None:
            return
        answer = replace(result, nodes=[], log=[], dropped=0)  # devices have small buffers
        if job.as_event:
            event = result_event(job.pipeline, job.run_id, encode(answer))
            self._bus.reply(job.request.reply_to, event, job.correlation, CLOUD_EVENT)
        else:
            self._bus.reply(job.request.reply_to, answer, job.correlation)


def _recorded_runs(delivery: Delivery) -> list[str]:
    try:
        return [receipt.run_id for receipt in decode(delivery.payload, Recorded).receipts]
    except WireError as error:
        log.warning("skipped a receipt", extra={"reason": str(error)})
        return []
