"""What can be asked of the dispatcher: `fpbus/call/dispatcher/{verb}`. Each answer is one bounded step of work.

A caller waits and can ask again, so nothing is held here: while Redis is away the answer is `unavailable`. A call
that comes twice does what it did: a run that was cancelled, deleted or retried before is so already.
"""

import contextlib
import difflib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import msgspec
from redis import RedisError

from fpbus.bus import Bus, CallError
from fpbus.schemas import (
    TERMINAL,
    CallCode,
    CallFailure,
    Cancel,
    Cancelled,
    CancelledJobs,
    ChooseJobs,
    DeletedJobs,
    JobInfo,
    JobPage,
    ListJobs,
    NamePipeline,
    NoArguments,
    PipelineSwitched,
    Queues,
    Replay,
    Replayed,
    ReplayStep,
    RetryJob,
    Role,
    RunRequest,
    RunResult,
    ShowJob,
    Submit,
    Submitted,
    TriggerInfo,
    topics,
)
from fpbus.schemas.queue import RunJob

from .catalog import Catalog
from .choosing import Chooser
from .contracts import Check
from .devices import triggers_of
from .handlers import Admission, RefusedError, admit, request_again
from .ids import mint_run_id
from .ingress import Ingress, refusal_of, traced
from .ingress import Submit as SubmitRuns
from .pages import page_of
from .queue import FencedError, Outcome, RunQueue, Submission
from .replaying import judge, outcome_of

T = TypeVar("T")

_SOME: Final = "Name a run, a queue, a pipeline or a state, or say that all are meant (`every`)."


class DispatcherCalls:
    """Answers calls. `submit` puts runs into Redis; `ended` is told of each run that a call has ended."""

    def __init__(  # noqa: PLR0917 (its surroundings)
        self,
        bus: Bus,
        queue: RunQueue,
        catalog: Catalog,
        ingress: Ingress,
        submit: SubmitRuns,
        check: Check,
        ended: Callable[[RunJob, RunResult], None],
    ) -> None:
        self._bus = bus
        self._queue = queue
        self._catalog = catalog
        self._ingress = ingress
        self._submit = submit
        self._check = check
        self._chooser = Chooser(queue, ended, self.nudge)

    def verbs(self) -> dict[str, tuple[type[Any], Callable[[Any], Any]]]:
        return {
            "submit": (Submit, self.submit),
            "list_jobs": (ListJobs, self.list_jobs),
            "show_job": (ShowJob, self.show_job),
            "cancel": (ChooseJobs, self.cancel),
            "delete": (ChooseJobs, self.delete),
            "retry": (RetryJob, self.retry),
            "replay": (Replay, self.replay),
            "pause_pipeline": (NamePipeline, self.pause_pipeline),
            "resume_pipeline": (NamePipeline, self.resume_pipeline),
            "queues": (NoArguments, self.queues),
            "list_triggers": (NoArguments, self.list_triggers),
        }

    def submit(self, submit: Submit) -> Submitted:
        """Make a run with whatever the operator asks for; a repeat with the same id answers the same."""
        return self._make(submit.pipeline, submit.request)

    def _make(self, pipeline: str, request: RunRequest, retry_of: str | None = None) -> Submitted:
        try:
            rules = self._catalog.look_for_new()
            if pipeline not in rules.pipelines:
                raise _unknown(pipeline, sorted(rules.pipelines))
            admission = traced(admit(pipeline, request, rules, datetime.now(UTC), mint_run_id, None, retry_of))
            if not admission.expired:
                self._check(pipeline, request)
        except RefusedError as refused:
            raise _rejected(refused) from None
        submission = Submission(admission.job, admission.digest, expired=admission.expired)
        (outcome,) = at_once(lambda: self._submit([submission]))
        refusal = refusal_of(admission, outcome)
        if refusal is not None:
            raise _rejected(refusal)
        status = self._ingress.accept(admission, outcome)
        if outcome.kind == "new":
            status = msgspec.structs.replace(status, reason=self._nobody_serves(admission.job.queue))
        return Submitted(status=status)

    def _nobody_serves(self, queue: str) -> str | None:
        """Say that no worker serves a queue; None when one does. A hint only, so Redis may be away again."""
        with contextlib.suppress(RedisError):
            if not self._queue.jobs.serving().count(queue):
                name = queue.partition(".")[0]
                start = f"fpbus job-queue start-worker --queue-names {name}"
                return f"No worker serves the queue {queue!r}. Start one: {start}"
        return None

    def list_jobs(self, asked: ListJobs) -> JobPage:
        return at_once(lambda: page_of(self._queue.jobs, asked))

    def show_job(self, asked: ShowJob) -> JobInfo:
        found = at_once(lambda: self._queue.jobs.show(asked.run_id))
        if found is None:
            raise _not_found(asked.run_id)
        return found

    def cancel(self, chosen: ChooseJobs) -> Cancelled | CancelledJobs:
        """End one run, or a step of many: those that wait end now, those that run are stopped by their workers."""
        _check_choice(chosen)
        if chosen.run_id is None:
            step = at_once(lambda: self._chooser.step(chosen, delete=False))
            return CancelledJobs(cancelled=step.cancelled, cancelling=step.marked, cursor=step.cursor)
        found = at_once(lambda: self._chooser.one(chosen.run_id or "", delete=False))
        if found is None:
            raise _not_found(chosen.run_id)
        state, became = found
        return Cancelled(run_id=chosen.run_id, state=state, cancelling=became in {"cancelled", "marked"})

    def delete(self, chosen: ChooseJobs) -> DeletedJobs:
        """Let the data of one run, or a step of many, leave Redis; what has not ended is cancelled first."""
        _check_choice(chosen)
        if chosen.run_id is None:
            step = at_once(lambda: self._chooser.step(chosen, delete=True))
            deleted = step.removed + step.cancelled
            return DeletedJobs(deleted=deleted, cancelled=step.cancelled, cancelling=step.marked, cursor=step.cursor)
        found = at_once(lambda: self._chooser.one(chosen.run_id or "", delete=True))
        if found is None:
            raise _not_found(chosen.run_id)
        became = found[1]
        return DeletedJobs(
            deleted=int(became in {"removed", "cancelled"}),
            cancelled=int(became == "cancelled"),
            cancelling=int(became == "marked"),
        )

    def retry(self, asked: RetryJob) -> Submitted:
        """Run again what has ended, as a new run that names the first."""
        found = at_once(lambda: self._queue.find(asked.run_id))
        if found is not None and found[0] not in TERMINAL:
            message = f"The run {asked.run_id} is {found[0]}; only what has ended can be retried."
            raise CallError(CallFailure(code=CallCode.REJECTED, message=message, field="$.run_id"))
        job = found[1] if found else None
        pipeline, request = (job.pipeline, job.request) if job else (asked.pipeline, asked.request)
        if pipeline is None or request is None:
            raise _not_found(asked.run_id, "what it was asked to do is no longer in Redis")
        again = request_again(request, asked.inputs, asked.new_run_id)
        return self._make(pipeline, again, retry_of=asked.run_id)

    def replay(self, asked: Replay) -> ReplayStep:
        """Run again what the history knows, as new runs that name the first; a repeat finds them there."""
        rules = self._catalog.look_for_new()
        if asked.pipeline not in rules.pipelines:
            raise _unknown(asked.pipeline, sorted(rules.pipelines))
        judged = [judge(original, asked, rules, datetime.now(UTC)) for original in asked.runs]
        admitted = [each for each in judged if isinstance(each, Admission)]
        submissions = [Submission(each.job, each.digest) for each in admitted]
        outcomes = iter(at_once(lambda: self._submit(submissions)) if submissions else [])
        return ReplayStep(runs=[self._told(each, outcomes) for each in judged])

    def _told(self, judged: Admission | Replayed, outcomes: Iterator[Outcome]) -> Replayed:
        if isinstance(judged, Replayed):
            return judged
        outcome = next(outcomes)
        if outcome.kind != "conflict":  # the replay is there, with another priority
            self._ingress.accept(judged, outcome)
        return outcome_of(judged.job, outcome)

    def list_triggers(self, _: NoArguments) -> list[TriggerInfo]:
        """List all triggers with what became of their messages."""
        return triggers_of(self._catalog.rules, at_once(self._queue.windows.counts))

    def pause_pipeline(self, named: NamePipeline) -> PipelineSwitched:
        """Start no more runs of a pipeline. New ones are accepted, and wait."""
        known = sorted(self._catalog.look_for_new().pipelines)
        if named.pipeline not in known:
            raise _unknown(named.pipeline, known)
        return self._switch(named.pipeline, datetime.now(UTC))

    def resume_pipeline(self, named: NamePipeline) -> PipelineSwitched:
        """Go on with the runs of a pipeline, in the order in which they were accepted."""
        return self._switch(named.pipeline, None)

    def _switch(self, pipeline: str, since: datetime | None) -> PipelineSwitched:
        changed = at_once(lambda: self._queue.pause(pipeline, since))
        held = {one.pipeline: one.held for one in self.queues(NoArguments()).held}
        return PipelineSwitched(
            pipeline=pipeline, paused=since is not None, changed=changed, held=held.get(pipeline, 0)
        )

    def queues(self, _: NoArguments) -> Queues:
        return at_once(self._queue.depths)

    def nudge(self, run_id: str) -> None:
        """Have the worker look at once; its heartbeat would tell it within a second."""
        self._bus.publish(topics.call(Role.RUNNER, "cancel"), Cancel(run_id=run_id))


def at_once(act: Callable[[], T]) -> T:
    """Do something in Redis for a caller, who waits and can ask again: no holding here."""
    try:
        return act()
    except (RedisError, FencedError) as error:
        message = f"Redis does not do its part: {error or 'another dispatcher has the lease'}."
        raise CallError(CallFailure(code=CallCode.UNAVAILABLE, message=message, hint="Ask again later.")) from error


def _check_choice(chosen: ChooseJobs) -> None:
    filters = (chosen.queue, chosen.pipeline, chosen.state)
    if chosen.run_id is None and not chosen.every and not any(filters):
        raise CallError(CallFailure(code=CallCode.INVALID_CALL, message=_SOME))
    if chosen.run_id is not None and (chosen.every or any(filters)):
        message = "A run id stands alone: with it there is nothing to choose."
        raise CallError(CallFailure(code=CallCode.INVALID_CALL, message=message, field="$.run_id"))


def _not_found(run_id: str, why: str = "") -> CallError:
    message = f"There is no run {run_id!r}{': ' + why if why else ''}."
    return CallError(CallFailure(code=CallCode.NOT_FOUND, message=message, field="$.run_id"))


def _rejected(refused: RefusedError) -> CallError:
    failure = CallFailure(code=CallCode.REJECTED, message=str(refused), field=refused.field, detail=str(refused.code))
    return CallError(failure)


def _unknown(name: str, known: list[str]) -> CallError:
    close = difflib.get_close_matches(name, known, 1)
    hint = f"Did you mean {close[0]!r}?" if close else f"It has: {', '.join(known) or 'none'}."
    message = f"There is no pipeline {name!r} in this project."
    return CallError(
        CallFailure(code=CallCode.REJECTED, message=message, hint=hint, field="$.pipeline", detail="unknown_pipeline")
    )
