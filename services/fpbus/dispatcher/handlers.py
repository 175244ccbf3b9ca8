"""What becomes of a message: values in, a decision out. No clock, no randomness, no network."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from fpbus.bus import Delivery
from fpbus.schemas import (
    OVERRIDES,
    FailureCode,
    LimitsConfig,
    PipelineConfig,
    PipelineLimits,
    Priority,
    Rejection,
    RejectionCode,
    RunAccount,
    RunError,
    RunRequest,
    RunResult,
    RunState,
    TooDeepError,
    UnknownFieldError,
    WindowConfig,
    WireError,
    decode,
    is_pipeline_name,
    topics,
)
from fpbus.schemas.lanes import lane_of
from fpbus.schemas.queue import RunJob

_HEAD_BYTES: Final = 120
_NO_ACCOUNT: Final = RunAccount()
_TOPIC_CHARS: Final = 200
_canonical: Final = msgspec.msgpack.Encoder(order="deterministic")


@dataclass(frozen=True)
class Rules:
    """What the dispatcher knows of the project when it decides."""

    pipelines: Mapping[str, PipelineConfig]
    limits: LimitsConfig
    timezone: ZoneInfo
    root: str = ""
    source: str | None = None


@dataclass(frozen=True)
class Admission:
    """A message that becomes a run, or is one again. `minted`: the id is ours, the publisher gave none.

    `expired`: it is too late for a new run; one that is there already gets the answer that it got before. `trigger` is
    the one that a device's message has met, and `window` where that has it wait for others.
    """

    job: RunJob
    digest: bytes
    minted: bool
    expired: bool = False
    trigger: str = ""
    window: WindowConfig | None = None


class RefusedError(Exception):
    """A message does not become a run; the code and the sentence go back to its publisher.

    `request` is what the message asked for, where it could be read: it says which run was meant, and who waits.
    """

    def __init__(
        self, code: RejectionCode, message: str, field: str | None = None, request: RunRequest | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.field = field
        self.request = request or RunRequest()


def pipeline_of(topic: str, rules: Rules) -> str:
    """Return the pipeline that a run topic names, or raise `RefusedError`."""
    name = topics.pipeline_of_run_topic(topic) or ""
    if not is_pipeline_name(name):
        raise RefusedError(
            RejectionCode.ILLEGAL_NAME,
            f"{name[:64]!r} cannot name a pipeline: up to 64 of a-z, 0-9, '_', '-' and '.'.",
        )
    if name not in rules.pipelines:
        raise RefusedError(RejectionCode.UNKNOWN_PIPELINE, f"There is no pipeline {name!r} in this project.")
    return name


def read_request(delivery: Delivery, rules: Rules) -> RunRequest:
    """Decode a message from a run topic; an empty one asks for a run with defaults."""
    if delivery.retain:
        raise RefusedError(
            RejectionCode.RETAINED,
            "A retained message on a run topic would start a run at every reconnect. Publish it without the retain "
            "flag, and clear this one with an empty retained message.",
        )
    if len(delivery.payload) > rules.limits.payload_bytes:
        raise RefusedError(
            RejectionCode.TOO_LARGE,
            f"The message has {len(delivery.payload)} bytes; {rules.limits.payload_bytes} are allowed.",
        )
    try:
        return decode(delivery.payload or b"{}", RunRequest, delivery.content_type, rules.limits.nesting)
    except UnknownFieldError as error:
        raise RefusedError(RejectionCode.UNKNOWN_FIELD, str(error), error.field) from None
    except TooDeepError as error:
        raise RefusedError(RejectionCode.TOO_DEEP, str(error), error.field) from None
    except WireError as error:
        raise RefusedError(RejectionCode.INVALID_PAYLOAD, str(error), error.field) from None


def check_overrides(request: RunRequest, pipeline: PipelineConfig) -> None:
    """Refuse what changes how a pipeline runs, unless its own configuration allows it."""
    for name in OVERRIDES:
        if getattr(request, name) is not None and name not in pipeline.allow_overrides:
            raise RefusedError(
                RejectionCode.NOT_ALLOWED,
                f"A message may not set '{name}' here; the pipeline's `allow_overrides` does not list it.",
                f"$.{name}",
                request,
            )
    try:
        pipeline.run.override(request)
    except msgspec.ValidationError as error:
        raise RefusedError(
            RejectionCode.INVALID_PAYLOAD, f"The settings cannot be used: {error}.", None, request
        ) from None


def admit(  # noqa: PLR0917 (all of them decide)
    name: str,
    request: RunRequest,
    rules: Rules,
    now: datetime,
    mint: Callable[[], str],
    delivery: Delivery | None,
    retry_of: str | None = None,
) -> Admission:
    """Make a job of a request that may run; raise `RefusedError` for one that has no chance."""
    asked = _with_zones(request, rules.timezone)
    request = _with_expiry(asked, delivery, now)
    reply_to = request.reply_to or (delivery.response_topic if delivery else None)
    if reply_to is not None and not may_answer(reply_to, rules):
        raise RefusedError(
            RejectionCode.NOT_ALLOWED, f"Answers cannot go to {reply_to[:_TOPIC_CHARS]!r}.", "$.reply_to", request
        )
    run = rules.pipelines[name].run
    job = RunJob(
        run_id=request.run_id or mint(),
        pipeline=name,
        request=msgspec.structs.replace(request, reply_to=reply_to),
        accepted_at=now,
        timeout_s=request.timeout_s or run.timeout_s or rules.limits.job_timeout_s,
        dedup_window_s=rules.limits.dedup_window_s,
        lost_attempts=rules.limits.lost_attempts,
        queue=lane_of(run.queue, request.priority or run.priority or Priority.DEFAULT),
        not_before=request.not_before if request.not_before and request.not_before > now else None,
        retry_of=retry_of,
        follow=bool(rules.pipelines[name].on_success or rules.pipelines[name].on_failure),
        traceparent=request.traceparent or (delivery.user.get("traceparent") if delivery else None),
        correlation=delivery.correlation if delivery else None,
    )
    expired = request.expires_at is not None and request.expires_at <= now
    return Admission(job, digest_of(name, asked), minted=request.run_id is None, expired=expired)


def request_again(request: RunRequest, inputs: Mapping[str, Any] | None, run_id: str | None) -> RunRequest:
    """Ask for the same once more, with other inputs laid over; when it was to start, and until when, is over."""
    return msgspec.structs.replace(
        request,
        run_id=run_id,
        inputs={**(request.inputs or {}), **inputs} if inputs else request.inputs,
        not_before=None,
        expires_at=None,
        traceparent=None,
        tracestate=None,
    )


def may_answer(topic: str, rules: Rules) -> bool:
    """Tell whether a publisher may have its answer there; `topic` is as it gave it, root and all."""
    return not topics.is_reserved(topic.removeprefix(rules.root))


def digest_of(pipeline: str, request: RunRequest) -> bytes:
    """Digest what a publisher asked for. How it was encoded and traced does not matter: a repeat may differ there.

    Raises `RefusedError` for values that a job cannot carry: integers beyond 64 bits, and what only MessagePack has.
    """
    asked = msgspec.structs.replace(request, run_id=None, traceparent=None, tracestate=None)
    try:
        return blake2b(_canonical.encode((pipeline, asked)), digest_size=16).digest()
    except (OverflowError, TypeError):
        message = "A run cannot be given integers beyond 64 bits, or mappings whose names are not text."
        raise RefusedError(RejectionCode.INVALID_PAYLOAD, message, request=request) from None


def expired(request: RunRequest) -> RefusedError:
    return RefusedError(RejectionCode.EXPIRED, f"The request expired at {request.expires_at}.", "$.expires_at", request)


def conflict(request: RunRequest) -> RefusedError:
    message = f"The run id {request.run_id!r} is taken by a run with another request."
    return RefusedError(RejectionCode.CONFLICT, message, "$.run_id", request)


def rejection_of(
    delivery: Delivery, refused: RefusedError, now: datetime, pipeline: str | None = None, hops: int = 0
) -> Rejection:
    """Tell a publisher what was wrong with its message, and which one it was.

    `pipeline` is the one that a trigger would have started; a run topic names its own.
    """
    name = pipeline or topics.pipeline_of_run_topic(delivery.topic) or ""
    named = refused.code not in {RejectionCode.ILLEGAL_NAME, RejectionCode.UNKNOWN_PIPELINE}
    correlation = delivery.correlation
    return Rejection(
        code=refused.code,
        message=str(refused),
        at=now,
        topic=delivery.topic[:_TOPIC_CHARS],
        size=len(delivery.payload),
        digest=blake2b(delivery.payload, digest_size=16).hexdigest(),
        head=delivery.payload[:_HEAD_BYTES].decode("utf-8", "replace"),
        field=refused.field,
        pipeline=name if named else None,
        run_id=refused.request.run_id,
        reply_id=correlation.decode("utf-8", "replace") if correlation else None,
        hops=hops,
    )


def rejection_topic(rejection: Rejection) -> str:
    return topics.rejected(rejection.pipeline) if rejection.pipeline else topics.REJECTED


def lost_result(
    job: RunJob, attempt: int, lost_before: int, now: datetime, account: RunAccount = _NO_ACCOUNT
) -> RunResult | None:
    """Decide about an attempt whose worker went silent: None has it run again, a result declares it dead."""
    if lost_before + 1 < job.lost_attempts:
        return None
    message = f"The worker was lost {lost_before + 1} times while it ran this."
    dead = _ended(job, attempt, RunState.DEAD, RunError(code=FailureCode.WORKER_LOST, message=message), now)
    return msgspec.structs.replace(dead, nodes=account.nodes, log=account.log, dropped=account.dropped)


def gone_result(run_id: str, pipeline: str, attempt: int, accepted_at: datetime, now: datetime) -> RunResult:
    """End a run of which Redis has nothing but its id."""
    message = "What it was to do is gone from Redis: somebody has deleted or replaced it there."
    error = RunError(code=FailureCode.WORKER_LOST, message=message)
    return RunResult(
        run_id=run_id,
        pipeline=pipeline,
        state=RunState.DEAD,
        attempt=attempt,
        accepted_at=accepted_at,
        finished_at=now,
        error=error,
    )


def cancelled_result(job: RunJob, attempt: int, now: datetime) -> RunResult:
    error = RunError(code=FailureCode.CANCELLED, message="Cancelled before it started.")
    return _ended(job, attempt, RunState.CANCELLED, error, now)


def expired_result(job: RunJob, attempt: int, now: datetime) -> RunResult:
    message = f"It waited until it expired at {job.request.expires_at}."
    return _ended(job, attempt, RunState.CANCELLED, RunError(code=FailureCode.EXPIRED, message=message), now)


def skipped_result(job: RunJob, attempt: int, now: datetime) -> RunResult:
    message = "Skipped: as many runs as its pipeline's limit allows were running."
    return _ended(job, attempt, RunState.CANCELLED, RunError(code=FailureCode.SKIPPED, message=message), now)


def victims(waiting: Sequence[str], running: Sequence[tuple[str, str, bool]], limits: PipelineLimits) -> list[str]:
    """Choose which runs of a pipeline make room: the oldest, one for each that waits, and none twice.

    `waiting` are the keys of the runs that wait, '' without one; `running` run ids with their keys, the oldest
    first, and whether each is being cancelled already.
    """
    chosen: list[str] = []
    if limits.max_running is not None:
        chosen += _oldest(len(waiting), running, limits.max_running)
    for key in dict.fromkeys(waiting) if limits.max_running_per_key is not None else ():
        of_key = [(run_id, on, gone or run_id in chosen) for run_id, on, gone in running if key and on == key]
        chosen += _oldest(waiting.count(key), of_key, limits.max_running_per_key or 1)
    return chosen


def _oldest(wanted: int, running: Sequence[tuple[str, str, bool]], most: int) -> list[str]:
    if len(running) < most:
        return []
    going = sum(gone for _, _, gone in running)
    return [run_id for run_id, _, gone in running if not gone][: max(0, min(wanted, most) - going)]


def _ended(job: RunJob, attempt: int, state: RunState, error: RunError, now: datetime) -> RunResult:
    return RunResult(
        run_id=job.run_id,
        pipeline=job.pipeline,
        state=state,
        attempt=attempt,
        accepted_at=job.accepted_at,
        finished_at=now,
        key=job.request.key,
        error=error,
        hops=job.hops,
        traceparent=job.traceparent,
    )


def _with_expiry(request: RunRequest, delivery: Delivery | None, now: datetime) -> RunRequest:
    """Let a message's own expiry hold where the request says none. It is no part of what was asked: it shrinks."""
    if delivery is None or delivery.expires_s is None or request.expires_at is not None:
        return request
    return msgspec.structs.replace(request, expires_at=now + timedelta(seconds=delivery.expires_s))


def _with_zones(request: RunRequest, zone: ZoneInfo) -> RunRequest:
    """Read times without a zone as the project's."""
    changes: dict[str, datetime] = {}
    for name in ("not_before", "expires_at"):
        time: datetime | None = getattr(request, name)
        if time is not None:
            try:
                changes[name] = (time if time.tzinfo else time.replace(tzinfo=zone)).astimezone(UTC)
            except OverflowError:
                message = f"The time {time} lies beyond the years 1 to 9999 in UTC."
                raise RefusedError(RejectionCode.INVALID_PAYLOAD, message, f"$.{name}", request) from None
    return msgspec.structs.replace(request, **changes) if changes else request
