"""How an attempt ends: values in, a result or another try out. No clock, no randomness, no network."""

from datetime import datetime

import msgspec

from fpbus.schemas import (
    FailureCode,
    Output,
    RunError,
    RunResult,
    RunState,
    encode,
)
from fpbus.schemas.queue import RunJob

from .orders import Ended, Order
from .texts import well_formed

_MESSAGE_CHARS = 4_000
_TRACEBACK_CHARS = 16_000


class Times(msgspec.Struct, frozen=True):
    """When an attempt started and finished."""

    started_at: datetime | None
    finished_at: datetime


def succeeded(job: RunJob, order: Order, times: Times, outputs: dict[str, Output]) -> Ended:
    result = _result(job, order, times, RunState.SUCCEEDED)
    return Ended(RunState.SUCCEEDED, encode(msgspec.structs.replace(result, outputs=outputs)))


def ended_with(job: RunJob, order: Order, times: Times, state: RunState, error: RunError) -> Ended:
    """End an attempt that did not succeed, with its reason."""
    error = msgspec.structs.replace(
        error,
        message=well_formed(error.message[:_MESSAGE_CHARS]),
        traceback=well_formed(error.traceback[-_TRACEBACK_CHARS:]) if error.traceback else None,
    )
    return Ended(state, encode(msgspec.structs.replace(_result(job, order, times, state), error=error)))


def expired(job: RunJob, order: Order, now: datetime) -> Ended | None:
    """End a run whose time has passed while it waited."""
    deadline = job.request.expires_at
    if deadline is None or deadline > now:
        return None
    error = RunError(code=FailureCode.EXPIRED, message=f"It waited until it expired at {deadline.isoformat()}.")
    return ended_with(job, order, Times(None, now), RunState.CANCELLED, error)


def _result(job: RunJob, order: Order, times: Times, state: RunState) -> RunResult:
    return RunResult(
        run_id=job.run_id,
        pipeline=job.pipeline,
        state=state,
        attempt=order.attempt,
        accepted_at=job.accepted_at,
        started_at=times.started_at,
        finished_at=times.finished_at,
        runner=order.runner,
        key=job.request.key,
        hops=job.hops,
        traceparent=job.traceparent,
    )
