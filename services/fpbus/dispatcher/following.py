"""What runs next when a run has ended, as its pipeline's `on_success` and `on_failure` say.

The script that ends a run notes it in `fpbus:ended`; it leaves there when its next ones are in Redis and the broker has
their `accepted`. Their ids are derived from it, so a dispatcher that dies in between makes none of them twice.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final

import msgspec

from fpbus.bus import Bus, Sending
from fpbus.schemas import FollowUp, Rejection, RejectionCode, RunRequest, RunResult, RunState, encode, topics
from fpbus.schemas.paths import value_at
from fpbus.schemas.queue import RunJob

from .handlers import Admission, RefusedError, Rules, admit
from .ids import mint_run_id
from .ingress import Submit, status_of, traced
from .queue import Outcome, RunQueue, Submission

log = logging.getLogger(__name__)

MOST_HOPS: Final = 16
_MOST: Final = 256
_PREFIX_CHARS: Final = 31


class Following:
    """Makes the next runs. `rules` are those in force; `submit` returns when Redis has the runs."""

    def __init__(self, bus: Bus, queue: RunQueue, submit: Submit, rules: Callable[[], Rules]) -> None:
        self._bus = bus
        self._queue = queue
        self._submit = submit
        self._rules = rules
        self._saying: dict[str, list[Sending]] = {}

    def settle(self) -> None:
        """Do what is due now; a repeat finds nothing more."""
        self._let_go()
        if len(self._saying) < _MOST:
            self._make([entry for entry in self._queue.ended(2 * _MOST) if entry[0] not in self._saying])

    def _let_go(self) -> None:
        """Forget the ends of which the broker has been told what they led to."""
        said = [run_id for run_id, sendings in self._saying.items() if all(sending.wait(0.0) for sending in sendings)]
        if said:
            self._queue.followed(said)
            for run_id in said:
                del self._saying[run_id]

    def _make(self, ended: Sequence[tuple[str, RunJob | None, RunResult | None]]) -> None:
        admitted: list[Admission] = []
        said: dict[str, list[Sending]] = {run_id: [] for run_id, _, _ in ended}
        for run_id, job, result in ended:
            if job is None or result is None:
                log.warning("a run that was removed has no next one", extra={"run_id": run_id})
                continue
            for place, follow_up in enumerate(follow_ups(self._rules(), job.pipeline, result.state)):
                try:
                    admitted.append(traced(admit_next(place, follow_up, job, result, self._rules())))
                except RefusedError as refused:
                    said[run_id].append(self._reject(follow_up.pipeline, job, refused))
        outcomes = self._submit([Submission(each.job, each.digest) for each in admitted]) if admitted else []
        for admission, outcome in zip(admitted, outcomes, strict=True):
            if outcome.kind != "conflict":  # the file was changed since; the run is there
                said[admission.job.after or ""].append(self._accept(admission, outcome))
        self._saying |= said

    def _accept(self, admission: Admission, outcome: Outcome) -> Sending:
        status, job = status_of(admission, outcome), admission.job
        return self._bus.publish(topics.status(job.pipeline, job.run_id), status, traceparent=job.traceparent)

    def _reject(self, pipeline: str, job: RunJob, refused: RefusedError) -> Sending:
        log.warning("a run has no next one", extra={"run_id": job.run_id, "next": pipeline, "reason": str(refused)})
        known = pipeline in self._rules().pipelines
        rejection = Rejection(
            code=refused.code,
            message=f"After the run {job.run_id} of {job.pipeline}: {refused}",
            at=datetime.now(UTC),
            topic=topics.result(job.pipeline, job.run_id),
            size=0,
            digest=blake2b(b"", digest_size=16).hexdigest(),
            head="",
            field=refused.field,
            pipeline=pipeline if known else None,
        )
        return self._bus.publish(topics.rejected(pipeline) if known else topics.REJECTED, rejection)


def follow_ups(rules: Rules, pipeline: str, state: RunState) -> list[FollowUp]:
    """Return what is to follow a run that ended like this; a run that was cancelled is followed by nothing."""
    config = rules.pipelines.get(pipeline)
    if config is None or state == RunState.CANCELLED:
        return []
    named = config.on_success if state == RunState.SUCCEEDED else config.on_failure
    return [FollowUp(pipeline=each) if isinstance(each, str) else each for each in named]


def admit_next(place: int, follow_up: FollowUp, job: RunJob, result: RunResult, rules: Rules) -> Admission:
    """Make a job of the `place`-th pipeline that follows a run; raise `RefusedError` when it cannot be."""
    if job.hops >= MOST_HOPS:
        raise RefusedError(RejectionCode.LOOP, f"Runs follow each other {MOST_HOPS} times at most.")
    if follow_up.pipeline not in rules.pipelines:
        raise RefusedError(
            RejectionCode.UNKNOWN_PIPELINE, f"There is no pipeline {follow_up.pipeline!r} in this project."
        )
    request = RunRequest(
        run_id=run_id_after(job.run_id, place, follow_up.pipeline),
        inputs=_inputs(follow_up, job, result) or None,
        key=job.request.key,
        traceparent=job.traceparent,
    )
    admission = admit(follow_up.pipeline, request, rules, datetime.now(UTC), mint_run_id, None)
    return replace(admission, job=msgspec.structs.replace(admission.job, after=job.run_id, hops=job.hops + 1))


def run_id_after(run_id: str, place: int, pipeline: str) -> str:
    """Return the id of the run that follows, like `report-after-0f9d6cb1a2e34c58`: the same, however often asked."""
    name = pipeline.replace(".", "_")[:_PREFIX_CHARS]
    digest = blake2b(encode((run_id, place, pipeline)), digest_size=8).hexdigest()
    return f"{name}-after-{digest}"


def _inputs(follow_up: FollowUp, job: RunJob, result: RunResult) -> dict[str, Any]:
    if not follow_up.inputs:
        return {}
    facts = _facts(job, result)
    inputs: dict[str, Any] = {}
    for name, path in follow_up.inputs.items():
        try:
            inputs[name] = value_at(facts, path)
        except LookupError:
            raise RefusedError(
                RejectionCode.INVALID_PAYLOAD,
                f"It has no {path!r}, of which input {name!r} is made.",
                f"$.inputs.{name}",
            ) from None
    return inputs


def _facts(job: RunJob, result: RunResult) -> dict[str, Any]:
    """Return what paths lead into: the result's facts, its outputs as plain values, and what it was given."""
    facts: dict[str, Any] = msgspec.to_builtins(result)
    outputs = {name: output.get("json", output.get("ref")) for name, output in facts.get("outputs", {}).items()}
    return {**facts, "outputs": outputs, "inputs": job.request.inputs or {}}
