"""From deliveries to runs: decide about each, submit all that may run in one script, answer, and last acknowledge."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from secrets import token_urlsafe

import msgspec

from fpbus.bus import Bus, Delivery, Span
from fpbus.schemas import RejectionCode, RunState, RunStatus, topics

from .catalog import Catalog
from .handlers import (
    Admission,
    RefusedError,
    admit,
    check_overrides,
    conflict,
    expired,
    may_answer,
    pipeline_of,
    read_request,
    rejection_of,
    rejection_topic,
)
from .queue import Outcome, Submission

log = logging.getLogger(__name__)

Submit = Callable[[Sequence[Submission]], list[Outcome]]


def mint_run_id() -> str:
    """Make the id of a run whose publisher gave none: 128 random bits."""
    return token_urlsafe(16)


class Ingress:
    """Makes runs of messages. `submit` returns only when Redis has them."""

    def __init__(self, bus: Bus, catalog: Catalog, submit: Submit) -> None:
        self._bus = bus
        self._catalog = catalog
        self._submit = submit

    def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Answer every message with `accepted` or `rejected`. A repeat gets the answer that the first one got."""
        admitted: list[tuple[Delivery, Admission]] = []
        for delivery in deliveries:
            try:
                admitted.append((delivery, self._decide(delivery)))
            except RefusedError as refused:
                self._reject(delivery, refused)
            except Exception:
                log.exception("could not judge a message", extra={"topic": delivery.topic[:200]})
                self._reject(delivery, RefusedError(RejectionCode.INVALID_PAYLOAD, "The message cannot be read."))
        if not admitted:
            return
        outcomes = self._submit([_submission(*pair) for pair in admitted])
        for (delivery, admission), outcome in zip(admitted, outcomes, strict=True):
            refusal = refusal_of(admission, outcome)
            if refusal is not None:
                self._reject(delivery, refusal)
            else:
                self.accept(admission, outcome)

    def accept(self, admission: Admission, outcome: Outcome) -> RunStatus:
        """Publish that a run is accepted, and return what was published."""
        status = status_of(admission, outcome)
        self._bus.publish(topics.status(status.pipeline, status.run_id), status, traceparent=admission.job.traceparent)
        return status

    def _decide(self, delivery: Delivery) -> Admission:
        rules = self._catalog.rules
        try:
            name = pipeline_of(delivery.topic, rules)
        except RefusedError:
            rules = self._catalog.look_for_new()  # it may be new
            name = pipeline_of(delivery.topic, rules)
        request = read_request(delivery, rules)
        check_overrides(request, rules.pipelines[name])
        return traced(admit(name, request, rules, datetime.now(UTC), mint_run_id, delivery))

    def _reject(self, delivery: Delivery, refused: RefusedError) -> None:
        rejection = rejection_of(delivery, refused, datetime.now(UTC))
        self._bus.publish(rejection_topic(rejection), rejection)
        reply_to = refused.request.reply_to or delivery.response_topic
        if reply_to is not None and may_answer(reply_to, self._catalog.rules):
            self._bus.reply(reply_to, rejection, delivery.correlation)
        log.warning(
            "rejected a message",
            extra={"code": str(rejection.code), "topic": rejection.topic, "digest": rejection.digest},
        )


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


def _submission(delivery: Delivery, admission: Admission) -> Submission:
    packet_id = delivery.packet_id if admission.minted else None
    return Submission(admission.job, admission.digest, packet_id, delivery.duplicate, admission.expired)
