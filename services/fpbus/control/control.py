"""The Python face of the bus. Each question is one typed call; nothing here opens Redis or the history."""

import contextlib
import logging
import secrets
import time
from collections.abc import Generator, Iterator
from datetime import datetime
from typing import Any, Final, Self, TypeVar

import msgspec

from fpbus.bus import Bus, CallError, NoAnswerError, open_bus
from fpbus.lifecycle import Settings, broker_of
from fpbus.schemas import (
    Cancel,
    Cancelled,
    CancelledJobs,
    ChangedSchedules,
    ChooseJobs,
    DeletedJobs,
    Explain,
    Explained,
    FpbusError,
    JobInfo,
    JobPage,
    JobState,
    ListJobs,
    ListOriginals,
    ListRuns,
    ListSchedules,
    PipelineStats,
    PipelineSwitched,
    Priority,
    PutSchedule,
    Queues,
    Reconciled,
    RetryJob,
    Role,
    RunRecord,
    RunRequest,
    RunResult,
    RunStatus,
    ScheduleAll,
    ScheduleInfo,
    ServiceStatus,
    SetWorkers,
    ShowRun,
    Stats,
    StoredSchedule,
    Submit,
    Submitted,
    TriggerInfo,
    WorkerInfo,
    WorkersSet,
    is_pipeline_name,
)

from . import replaying, scheduling, steering
from .errors import NotConnectedError, NotFoundError, RejectedError, UnavailableError, explain
from .history import result_of
from .outbox import Outbox, OutboxError, Waiting, outbox_of
from .replaying import ReplayPage
from .roster import Roster, last_seen, utc_now
from .watching import RunEvent, Watch, Watches, follow

log = logging.getLogger(__name__)

DEFAULT_URL: Final = "mqtt://127.0.0.1:1883"

#: A call that a broker lost on its way is asked again after this long.
_ASK_AGAIN_S: Final = 2.0
#: How long a run may be known to the dispatcher before the recorder has committed it.
_SETTLE_S: Final = 1.0
#: How long a look at the history may keep the events of a run waiting.
_GLANCE_S: Final = 1.0
#: Runs in one answer of the history.
_PAGE: Final = 1_000
#: How many requests that were left behind go out after one of our own.
_LEFT_BEHIND: Final = 20

T = TypeVar("T")


class Control:
    """Asks the services of one bus, over a connection that is already started.

    `timeout_s` is the deadline of each question. A service that does not answer is a `NoAnswerError` that
    tells when it was last seen; one that refuses is a `RejectedError` or a `NotFoundError`.
    Requests for runs are in `outbox` before they are sent, and stay there until they are accepted or rejected.
    """

    def __init__(self, bus: Bus, timeout_s: float = 5.0, outbox: Outbox | None = None) -> None:
        self._bus = bus
        self._outbox = outbox
        #: Requests that others had left in the outbox, and why they were rejected when `submit` sent them.
        self.rejected: list[tuple[Waiting, FpbusError]] = []
        self._timeout_s = timeout_s
        self._roster = Roster(bus)
        self._watches = Watches(bus)

    @classmethod
    @contextlib.contextmanager
    def connect(cls, settings: Settings, timeout_s: float = 5.0) -> Generator[Self]:
        """Connect to the broker that `settings` name, and say goodbye at the end.

        Raises `NotConnectedError` when there is no connection within `timeout_s`, `BrokerRefusedError` when the
        broker does not let us in, `SettingsError` when the way to it is open to others.
        """
        address = broker_of(settings, DEFAULT_URL)
        bus = open_bus(address, f"fpbus-cli-{secrets.token_hex(6)}", root=settings.root)
        outbox = outbox_of(settings, f"{address}/{settings.root}".rstrip("/"))
        bus.start()
        try:
            if not bus.wait_connected(timeout_s):
                raise NotConnectedError(str(address), timeout_s, bus.trouble)
            yield cls(bus, timeout_s, outbox)
        finally:
            bus.stop()
            outbox.close()

    # Runs.

    def submit(self, pipeline: str, request: RunRequest | None = None) -> RunStatus:
        """Ask for a run and return what the dispatcher said: accepted, maybe with `duplicate`.

        Asks again until the deadline, always with one run id, so that no second run can come of it. Without an
        answer, or while the dispatcher can take no runs, the request waits in the outbox: the next `submit` that is
        accepted sends it again, as does `send_waiting`. Raises `OutboxError`, before anything is sent, when it
        cannot be stored.
        """
        request = request or RunRequest()
        if request.run_id is not None:
            return self._submit(pipeline, request)
        status = self._submit(pipeline, msgspec.structs.replace(request, run_id=new_run_id()))
        return _as_new(status)

    def send_waiting(self) -> Iterator[tuple[Waiting, RunStatus | FpbusError]]:
        """Send what waits in the outbox for this bus; yield each with the dispatcher's answer.

        Ends with `NoAnswerError` when nobody answers; the requests wait on then.
        """
        while self._outbox is not None and (left_behind := self._outbox.take(self._timeout_s, 1)):
            yield left_behind[0], self._send_again(left_behind[0], self._outbox)
            self.rejected.clear()

    def run(
        self, pipeline: str, request: RunRequest | None = None, timeout_s: float | None = None
    ) -> Iterator[RunEvent]:
        """Ask for a run and yield what happens to it: its acceptance first, its result last.

        Raises `WaitTimedOutError` when it has not ended after `timeout_s`.
        """
        request = request or RunRequest()
        run_id = request.run_id or new_run_id()
        with self.watch(run_id=run_id) as watch:  # before the request, so that nothing is missed
            status = self._submit(pipeline, msgspec.structs.replace(request, run_id=run_id))
            status = status if request.run_id else _as_new(status)
            yield status
            result = self._ended(run_id) if status.duplicate else None
            yield from [result] if result else follow(watch, run_id, timeout_s, lambda: self._ended(run_id))

    def watch(self, run_id: str | None = None, pipeline: str | None = None) -> Watch:
        """Hear from now on what is said about one run, about a pipeline's runs, or about all."""
        return self._watches.open(run_id, pipeline)

    def follow(self, run_id: str, timeout_s: float | None = None) -> Iterator[RunEvent]:
        """Yield what happens to a run from now on, its result last; of one that has ended only the result.

        Raises `NotFoundError` for a run that the history does not know.
        """
        with self.watch(run_id=run_id) as watch:
            record = self._settled(run_id)
            result = result_of(record) if record else None
            yield from [result] if result else follow(watch, run_id, timeout_s, lambda: self._ended(run_id))

    def wait(self, run_id: str, timeout_s: float | None = None) -> RunResult:
        """Return the result of a run, when it is there."""
        *_, result = self.follow(run_id, timeout_s)
        assert isinstance(result, RunResult)
        return result

    def cancel(self, run_id: str) -> Cancelled:
        """End a run that has not ended. A repeat, or one that comes too late, changes nothing and says so."""
        return self._call(Role.DISPATCHER, "cancel", Cancel(run_id=run_id), Cancelled)

    def retry(self, run_id: str, inputs: dict[str, Any] | None = None) -> RunStatus:
        """Run again what has ended, in whatever way, as a new run; `inputs` are laid over those of the first.

        What was asked for is known to Redis, or later to the history. Raises `RejectedError` for a run that has not
        ended, and `NotFoundError` for one that neither knows.
        """
        again = RetryJob(run_id=run_id, inputs=inputs, new_run_id=new_run_id())
        try:
            status = self._ask_to_start("retry", again, again.new_run_id or "")
        except NotFoundError:
            record = self.show_run(run_id)
            if record.request is None:
                raise
            known = msgspec.structs.replace(again, pipeline=record.pipeline, request=record.request)
            status = self._ask_to_start("retry", known, again.new_run_id or "")
        return _as_new(status)

    def replay(
        self,
        pipeline: str,
        since: datetime,
        until: datetime | None = None,
        *,
        key: str | None = None,
        name: str = "",
        priority: Priority = Priority.LOW,
        dry: bool = False,
    ) -> Iterator[ReplayPage]:
        """Run again what was accepted between two times and has ended, oldest first; yield what became of each.

        Each run is replayed once under each `name`, however often this is done. `dry` creates nothing.
        """
        wanted = ListOriginals(pipeline=pipeline, since=since, until=until or utc_now(), key=key, name=name)
        return replaying.replay(self._call, wanted, priority, dry=dry)

    # What is queued.

    def jobs(self, wanted: ListJobs | None = None, most: int | None = None) -> list[JobInfo]:
        """Return runs that are in Redis, by default those that have not ended, oldest first.

        At most `most`, over as many pages as that takes; without it at most the `limit` of what is wanted.
        """
        wanted = wanted or ListJobs()
        return list(steering.jobs(self._call, wanted, most or wanted.limit))

    def job_page(self, wanted: ListJobs | None = None) -> JobPage:
        """Return one page of them, with the offset of the next and how many there are in all."""
        return steering.job_page(self._call, wanted or ListJobs())

    def show_job(self, run_id: str) -> JobInfo:
        """Return what Redis knows of a run; raise `NotFoundError` for one that it does not know."""
        return steering.show(self._call, run_id)

    def cancel_all(
        self, *, queue: str | None = None, pipeline: str | None = None, state: JobState | None = None
    ) -> CancelledJobs:
        """End all runs that fit, or all there are, and return how many ended and how many are being stopped.

        When a step is not answered (`NoAnswerError`, `UnavailableError`), those before it are done; ask again.
        """
        return steering.cancel(self._call, steering.choice(queue, pipeline, state))

    def delete(self, run_id: str) -> DeletedJobs:
        """Let a run's data leave Redis; one that has not ended is cancelled first. A repeat counts nothing.

        Its history stays, and its id stays taken. Raises `NotFoundError` for a run that Redis does not know.
        """
        return self._call(Role.DISPATCHER, "delete", ChooseJobs(run_id=run_id), DeletedJobs)

    def delete_all(
        self, *, queue: str | None = None, pipeline: str | None = None, state: JobState | None = None
    ) -> DeletedJobs:
        """Do the same to all runs that fit, or to all there are."""
        return steering.delete(self._call, steering.choice(queue, pipeline, state))

    def pause_pipeline(self, pipeline: str) -> PipelineSwitched:
        """Start no more runs of a pipeline; they are accepted and wait. Raises `NotFoundError` without that one."""
        return steering.pause(self._call, pipeline)

    def resume_pipeline(self, pipeline: str) -> PipelineSwitched:
        """Go on with the runs of a pipeline, in the order in which they were accepted."""
        return steering.resume(self._call, pipeline)

    # Schedules.

    def schedule(self, wanted: PutSchedule) -> StoredSchedule:
        """Store a schedule, which is active from then on.

        Raises `RejectedError` for an id that is taken, unless it may be overwritten, and for what is no schedule.
        """
        return scheduling.put(self._call, wanted)

    def schedule_all(self, executor: str | dict[str, Any] | None = None, *, overwrite: bool = False) -> Reconciled:
        """Make the store agree with the schedules in the pipelines' files, and return what differed."""
        return scheduling.activate_all(self._call, ScheduleAll(executor=executor, overwrite=overwrite))

    def schedules(self, wanted: ListSchedules | None = None) -> list[ScheduleInfo]:
        """Return the stored schedules, by id."""
        return list(scheduling.listed(self._call, wanted or ListSchedules()))

    def pause_schedule(self, schedule_id: str | None = None) -> ChangedSchedules:
        """Let a schedule start nothing until it is resumed; without an id all of them."""
        return scheduling.change(self._call, "pause", schedule_id)

    def resume_schedule(self, schedule_id: str | None = None) -> ChangedSchedules:
        """Go on with a schedule, from now on; without an id with all of them."""
        return scheduling.change(self._call, "resume", schedule_id)

    def remove_schedule(self, schedule_id: str | None = None) -> ChangedSchedules:
        """Forget a schedule, or all of them. Those of files come back with `schedule_all`."""
        return scheduling.change(self._call, "remove", schedule_id)

    def explain_schedule(self, wanted: Explain) -> Explained:
        """Return when a schedule, a pipeline's file or an expression is due next, and what is odd about it."""
        return scheduling.explain(self._call, wanted)

    # History.

    def list_runs(self, wanted: ListRuns | None = None) -> list[RunRecord]:
        """Return runs, newest first."""
        return self._call(Role.RECORDER, "list_runs", wanted or ListRuns(), list[RunRecord])

    def iterate_runs(self, wanted: ListRuns | None = None, most: int | None = None) -> Iterator[RunRecord]:
        """Yield runs, newest first, page by page; up to `most`, or all. Runs that come meanwhile are not among them."""
        wanted, left = wanted or ListRuns(), most
        while left is None or left > 0:
            page = self.list_runs(msgspec.structs.replace(wanted, limit=min(left or _PAGE, _PAGE)))
            yield from page
            if len(page) < min(left or _PAGE, _PAGE):
                return
            left = None if left is None else left - len(page)
            wanted = msgspec.structs.replace(wanted, older_than=page[-1].run_id, offset=0)

    def show_run(self, run_id: str) -> RunRecord:
        return self._call(Role.RECORDER, "show_run", ShowRun(run_id=run_id), RunRecord)

    def stats(self, pipeline: str | None = None, since: datetime | None = None) -> list[PipelineStats]:
        """Return the sums of each pipeline, or of one; with `since` of runs that ended in that hour or later."""
        return self._call(Role.RECORDER, "stats", Stats(pipeline=pipeline, since=since), list[PipelineStats])

    # Services.

    def services(self) -> list[ServiceStatus]:
        """Return the last word of every service that was seen on this bus; takes a moment."""
        return self._roster.read()

    def workers(self) -> list[WorkerInfo]:
        """Return the workers of all runners that are online and answer in time, by name."""
        runners = {status.instance for status in self.services() if status.role == Role.RUNNER and status.online}
        workers: list[WorkerInfo] = []
        replies = self._bus.gather(Role.RUNNER, "list_workers", timeout_s=self._timeout_s) if runners else ()
        for reply in replies:
            workers += msgspec.convert(reply.result or [], list[WorkerInfo])
            runners.discard(reply.instance)
            if not runners:
                break
        return sorted(workers, key=lambda worker: worker.name)

    def set_workers(self, instance: str, workers: int) -> WorkersSet:
        """Have a running runner work with so many, until it ends; those who leave finish the run in hand first."""
        asked = SetWorkers(instance=instance, workers=workers)
        for reply in self._bus.gather(Role.RUNNER, "set_workers", asked, timeout_s=self._timeout_s):
            if reply.instance == instance:
                if reply.error is not None:
                    raise explain(CallError(reply.error))
                return msgspec.convert(reply.result, WorkersSet)
        raise NoAnswerError(f"{Role.RUNNER} {instance}", self._timeout_s, self._last_seen(Role.RUNNER))

    def list_triggers(self) -> list[TriggerInfo]:
        """Return which messages of devices start pipelines, and what became of those that came."""
        return self._call(Role.DISPATCHER, "list_triggers", None, list[TriggerInfo])

    def queues(self) -> Queues:
        return self._call(Role.DISPATCHER, "queues", None, Queues)

    # How it asks.

    def _call(self, service: str, verb: str, arguments: msgspec.Struct | None, kind: type[T]) -> T:
        try:
            return msgspec.convert(self._ask(service, verb, arguments, self._timeout_s), kind)
        except NoAnswerError:
            raise NoAnswerError(service, self._timeout_s, self._last_seen(service)) from None

    def _ask(self, service: str, verb: str, arguments: msgspec.Struct | None, timeout_s: float) -> Any:
        try:
            return self._bus.call(service, verb, arguments, timeout_s)
        except CallError as error:
            raise explain(error) from None

    def _submit(self, pipeline: str, request: RunRequest) -> RunStatus:
        """Ask until the deadline; `request` has a run id."""
        if not is_pipeline_name(pipeline):
            raise RejectedError(
                f"{pipeline[:80]!r} cannot name a pipeline.",
                "A name has up to 64 of a-z, 0-9, '_', '-' and '.', the first a letter, a digit or '_'.",
            )
        submit, run_id = Submit(pipeline=pipeline, request=request), request.run_id or ""
        if self._outbox is None:
            return self._ask_to_start("submit", submit, run_id)
        until = self._outbox.keep(submit, self._timeout_s)
        try:
            status = self._ask_kept(submit, self._outbox)
        except (NoAnswerError, UnavailableError) as error:
            self._outbox.keep(submit, 0)  # who comes next may send it at once
            kept = f"The run {run_id} is kept until {until:%Y-%m-%d %H:%M} UTC, and sent with the next run."
            error.hint = " ".join(filter(None, (error.hint, kept, "See and send what waits: fpbus outbox --send")))
            raise
        self._send_left_behind(self._outbox)
        return status

    def _ask_kept(self, submit: Submit, outbox: Outbox) -> RunStatus:
        """Ask for a run, and forget the request when the answer is final."""
        run_id = submit.request.run_id or ""
        try:
            status = self._ask_to_start("submit", submit, run_id)
        except (RejectedError, NotFoundError):
            outbox.forget(run_id)
            raise
        try:
            outbox.forget(run_id)
        except OutboxError as error:  # it is sent once more, which makes no second run
            log.warning("an accepted run stays in the outbox: %s", error, extra={"run_id": run_id})
        return status

    def _send_again(self, waiting: Waiting, outbox: Outbox) -> RunStatus | FpbusError:
        try:
            return self._ask_kept(waiting.submit, outbox)
        except (RejectedError, NotFoundError) as error:
            log.warning("a run from the outbox was rejected: %s", error, extra={"run_id": waiting.run_id})
            self.rejected.append((waiting, error))
            return error

    def _send_left_behind(self, outbox: Outbox) -> None:
        """Send what earlier processes left; a run of our own is accepted by now, whatever becomes of those."""
        try:
            for waiting in outbox.take(self._timeout_s, _LEFT_BEHIND):
                self._send_again(waiting, outbox)
        except FpbusError as error:
            log.warning("runs wait on in the outbox: %s", error)

    def _ask_to_start(self, verb: str, arguments: msgspec.Struct, run_id: str) -> RunStatus:
        """Ask until the deadline for a run of this id: to ask again makes no second one."""
        deadline = time.monotonic() + self._timeout_s
        while (left := deadline - time.monotonic()) > 0:
            with contextlib.suppress(NoAnswerError):
                answer = self._ask(Role.DISPATCHER, verb, arguments, min(left, _ASK_AGAIN_S))
                return msgspec.convert(answer, Submitted).status
        seen = self._last_seen(Role.DISPATCHER)
        hint = f"{seen} To ask again without a second run, use the run id {run_id}."
        raise NoAnswerError(Role.DISPATCHER, self._timeout_s, hint)

    def _last_seen(self, service: str) -> str:
        return last_seen(self.services(), service, utc_now())

    def _settled(self, run_id: str) -> RunRecord | None:
        """Return the record of a run that the recorder may only be about to commit; None without a recorder."""
        deadline = time.monotonic() + _SETTLE_S
        while True:
            try:
                return self.show_run(run_id)
            except NoAnswerError:
                return None
            except NotFoundError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_SETTLE_S / 10)

    def _ended(self, run_id: str) -> RunResult | None:
        """Return the result that the history has; None when it has none, or does not answer soon."""
        with contextlib.suppress(NoAnswerError, NotFoundError):
            record = self._ask(Role.RECORDER, "show_run", ShowRun(run_id=run_id), _GLANCE_S)
            return result_of(msgspec.convert(record, RunRecord))
        return None


def _as_new(status: RunStatus) -> RunStatus:
    """An id of our own cannot have been there before: an answer was lost on its way, and we asked again."""
    return msgspec.structs.replace(status, duplicate=False, run_state=None)


def new_run_id() -> str:
    """Return an id that no other run has."""
    return secrets.token_hex(10)
