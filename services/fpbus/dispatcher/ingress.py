"""From deliveries to runs: decide about each, submit all that may run in one script, answer, and last acknowledge."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import msgspec

from fpbus.bus import Bus, Delivery, Span
from fpbus.schemas import RejectionCode, RunState, RunStatus, topics

from .catalog import Catalog
from .contracts import Check
from .devices import Devices, opened
from .handlers import (
    Admission,
    RefusedError,
    admit,
    check_overrides,
    conflict,
    expired,
    pipeline_of,
    read_request,
)
from .ids import mint_run_id
from .queue import Outcome, Submission
from .refusing import Refuser
from .windows import Entry, Taken

log = logging.getLogger(__name__)

Submit = Callable[[Sequence[Submission]], list[Outcome]]
Take = Callable[[Sequence[Entry]], list[Taken]]


class Ingress:
    """Makes runs of messages. `submit` returns only when Redis has them, and `take` when their windows have them."""

    def __init__(  # noqa: PLR0917 (its surroundings)
        self,
        bus: Bus,
        catalog: Catalog,
        devices: Devices,
        refuser: Refuser,
        check: Check,
        submit: Submit,
        take: Take,
    ) -> None:
        self._bus = bus
        self._catalog = catalog
        self._devices = devices
        self._refuser = refuser
        self._check = check
        self._submit = submit
        self._take = take

    def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Answer every message with `accepted` or `rejected`. A repeat gets the answer that the first one got."""
        admitted = [(delivery, admission) for delivery in deliveries for admission in self._admissions(delivery)]
        self._keep([pair for pair in admitted if pair[1].window is not None])
        self._start([pair for pair in admitted if pair[1].window is None])

    def _keep(self, admitted: Sequence[tuple[Delivery, Admission]]) -> None:
        """Put messages into their windows. What comes of them is told when they close."""
        late = [(delivery, admission) for delivery, admission in admitted if admission.expired]
        for delivery, admission in late:
            self._refuser.refuse(delivery, expired(admission.job.request), admission.job.pipeline)
        if len(late) < len(admitted):
            self._take([_entry(*pair) for pair in admitted if not pair[1].expired])

    def _start(self, admitted: Sequence[tuple[Delivery, Admission]]) -> None:
        if not admitted:
            return
        outcomes = self._submit([_submission(*pair) for pair in admitted])
        with self._bus.together():
            for (delivery, admission), outcome in zip(admitted, outcomes, strict=True):
                refusal = refusal_of(admission, outcome)
                if refusal is not None:
                    self._refuser.refuse(delivery, refusal, admission.job.pipeline)
                else:
                    self._tell_again(admission, outcome, self.accept(admission, outcome))

    def accept(self, admission: Admission, outcome: Outcome) -> RunStatus:
        """Publish that a run is accepted, and return what was published."""
        status = status_of(admission, outcome)
        self._bus.publish(topics.status(status.pipeline, status.run_id), status, traceparent=admission.job.traceparent)
        return status

    def _tell_again(self, admission: Admission, outcome: Outcome, status: RunStatus) -> None:
        """Answer a repeat where its publisher wants answers: who asks again has heard none, and may hear only there."""
        reply_to = admission.job.request.reply_to
        if outcome.kind == "same" and reply_to is not None:
            self._bus.reply(reply_to, status, admission.job.correlation)

    def _admissions(self, delivery: Delivery) -> list[Admission]:
        """Return the runs that a message asks for: one from a run topic, any number from a device's."""
        try:
            if delivery.outside:
                return [traced(admission) for admission in self._devices.admissions(delivery)]
            return [self._decide(delivery)]
        except RefusedError as refused:
            self._refuser.refuse(delivery, refused)
        except Exception:
            log.exception("could not judge a message", extra={"topic": delivery.topic[:200]})
            unreadable = RefusedError(RejectionCode.INVALID_PAYLOAD, "The message cannot be read.")
            self._refuser.refuse(delivery, unreadable)
        return []

    def _decide(self, delivery: Delivery) -> Admission:
        rules = self._catalog.rules
        try:
            name = pipeline_of(delivery.topic, rules)
        except RefusedError:
            rules = self._catalog.look_for_new()  # it may be new
            name = pipeline_of(delivery.topic, rules)
        opened_delivery, event_id = opened(delivery)
        request = read_request(opened_delivery, rules)
        if event_id is not None and request.run_id is None:
            request = msgspec.structs.replace(request, run_id=event_id)
        check_overrides(request, rules.pipelines[name])
        admission = admit(name, request, rules, datetime.now(UTC), mint_run_id, opened_delivery)
        if not admission.expired:  # a repeat of what was there in time gets the answer that it got
            self._check(name, request)
        return traced(answered_as(admission, event=event_id is not None))


def traced(admission: Admission) -> Admission:
    """Continue the publisher's trace, or begin one; the job carries it on."""
    job = admission.job
    attributes = {
        "messaging.system": "mqtt",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.template": "pipelines/{pipeline}/run",
        "messaging.message.conversation_id": job.run_id,
        "fpbus.pipeline": job.pipeline,
    }
    with Span(f"process pipelines/{job.pipeline}/run", job.traceparent, attributes) as span:
        job = msgspec.structs.replace(job, traceparent=span.traceparent)
    return replace(admission, job=job)


def answered_as(admission: Admission, *, event: bool) -> Admission:
    """Have a run answered with a CloudEvent when it was asked for with one."""
    return replace(admission, job=msgspec.structs.replace(admission.job, as_event=True)) if event else admission


def refusal_of(admission: Admission, outcome: Outcome) -> RefusedError | None:
    """Return why the ledger had no place for a run, or None when it has one."""
    if outcome.kind == "conflict":
        return conflict(admission.job.request)
    return expired(admission.job.request) if outcome.kind == "expired" else None


def status_of(admission: Admission, outcome: Outcome) -> RunStatus:
    job = admission.job
    repeated = outcome.kind == "same"
    return RunStatus(
        run_id=outcome.run_id,
        pipeline=job.pipeline,
        state=RunState.ACCEPTED,
        at=job.accepted_at,
        duplicate=repeated,
        run_state=outcome.state if repeated or outcome.state == RunState.DELAYED else None,
        not_before=job.not_before,
        key=job.request.key,
        retry_of=job.retry_of,
        after=job.after,
        request=job.request,
        traceparent=job.traceparent,
    )


def _packet(delivery: Delivery, admission: Admission) -> str | None:
    """Name what a message without a number was delivered as, and for what."""
    if not (admission.minted and delivery.qos):
        return None
    return f"{delivery.packet_id}:{admission.job.pipeline}:{admission.trigger}"


def _entry(delivery: Delivery, admission: Admission) -> Entry:
    assert admission.window is not None
    return Entry(
        admission.job,
        admission.trigger,
        admission.window,
        admission.digest,
        delivery=_packet(delivery, admission),
        again=delivery.duplicate,
        number=None if admission.minted else admission.job.run_id,
    )


def _submission(delivery: Delivery, admission: Admission) -> Submission:
    return Submission(
        admission.job, admission.digest, _packet(delivery, admission), delivery.duplicate, admission.expired
    )
