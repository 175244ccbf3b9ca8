"""What becomes of an event: values in, rows out. No clock, no database, no network.

A row is the *join* of everything that was heard of a run: joining is commutative and idempotent, so order,
repetition and the way in which events were batched leave no trace.

* The furthest attempt decides, and within it the furthest state; `RunState` is declared in the order of a life.
* What belongs to one attempt (start, runner, account) comes from that attempt alone.
* Of two values for the same fact the smaller one stands: for times that is the first.
* The timeline is that of all attempts.

Only what upstream forbids depends on order: of two different ends of one run the first one heard stands.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from fpbus.bus import Delivery
from fpbus.schemas import (
    TERMINAL,
    Latest,
    Receipt,
    RunAccount,
    RunError,
    RunResult,
    RunState,
    RunStatus,
    WireError,
    decode,
    encode,
    is_pipeline_name,
    is_run_id,
    topics,
)

from .timeline import Timeline, join_timelines, timeline_of_result, timeline_of_status

_MOST_ATTEMPTS: Final = 2**31 - 1  # what an integer column of every database holds
_NESTING: Final = 256  # a result wraps outputs that have passed the limit of their own
_RANK: Final = {state: rank for rank, state in enumerate(RunState)}

_Comparable = TypeVar("_Comparable", datetime, str)


class RunRow(Struct, frozen=True, kw_only=True):
    """One run, as the history keeps it. `at` is the first time known of it; times are in UTC; JSON stands as text."""

    run_id: str
    pipeline: str
    state: RunState
    attempt: int
    at: datetime
    accepted_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    runner: str | None = None
    key: str | None = None
    retry_of: str | None = None
    after: str | None = None
    traceparent: str | None = None
    request: str | None = None
    outputs: str | None = None
    account: str | None = None
    error: str | None = None
    timeline: Timeline = ()

    @property
    def duration_s(self) -> float | None:
        """Return how long the recorded attempt ran; clocks of two machines may differ, so never below zero."""
        if self.started_at is None or self.finished_at is None:
            return None
        return max(0.0, (self.finished_at - self.started_at).total_seconds())


@dataclass(frozen=True)
class Folded:
    """What a batch changes: the rows to write, and the results that came too late to count."""

    rows: list[RunRow]
    ignored: list[RunResult]


def read_event(delivery: Delivery) -> RunStatus | RunResult:
    """Decode what came on a status or result topic; raise `WireError` for what the history cannot hold."""
    kind, topic_of = _kind(delivery.topic)
    event = decode(delivery.payload, kind, delivery.content_type, _NESTING)
    if not (is_pipeline_name(event.pipeline) and is_run_id(event.run_id)):
        raise WireError(f"{event.pipeline!r} and {event.run_id!r} do not name a run of a pipeline.")
    if topic_of(event.pipeline, event.run_id) != delivery.topic:
        raise WireError(f"It speaks of the run {event.run_id} of {event.pipeline}, which is not what its topic says.")
    if not 0 <= event.attempt <= _MOST_ATTEMPTS:
        raise WireError(f"{event.attempt} is no number of attempts.", "$.attempt")
    if isinstance(event, RunResult) != (event.state in TERMINAL):
        raise WireError(f"The state {event.state} does not belong on this topic.", "$.state")
    return _in_utc(event)


def fold(known: Mapping[str, RunRow], events: Iterable[RunStatus | RunResult]) -> Folded:
    """Fold events into the rows that are known of their runs. A repeat changes nothing."""
    rows = dict(known)
    ignored: list[RunResult] = []
    for event in events:
        heard = _row(event)
        if isinstance(event, RunStatus) and event.run_state in TERMINAL:
            _keep_request(rows, heard)
            continue  # a repeated request for a run that has ended: its result says more
        before = rows.get(heard.run_id, heard)
        if _contradicts(heard, before):
            ignored += [event] if isinstance(event, RunResult) else []
        else:
            rows[heard.run_id] = _join(before, heard)
    return Folded([row for run_id, row in rows.items() if row != known.get(run_id)], ignored)


def _keep_request(rows: dict[str, RunRow], heard: RunRow) -> None:
    """Take from a repeat what was asked for, when the first acceptance died with its dispatcher."""
    row = rows.get(heard.run_id)
    if row is not None and row.request is None and row.pipeline == heard.pipeline:
        rows[heard.run_id] = replace(row, request=heard.request)


def receipts(events: Iterable[RunStatus | RunResult]) -> list[Receipt]:
    """Return a receipt for each result, in order; one that was there before, or was ignored, has one too.

    Whoever keeps a result until its receipt comes would otherwise send it for ever.
    """
    ended = dict.fromkeys((event.run_id, event.attempt) for event in events if isinstance(event, RunResult))
    return [Receipt(run_id=run_id, attempt=attempt) for run_id, attempt in ended]


def latest(row: RunRow) -> Latest:
    """Sum up a finished run."""
    assert row.finished_at is not None
    return Latest(
        run_id=row.run_id,
        pipeline=row.pipeline,
        state=row.state,
        attempt=row.attempt,
        finished_at=row.finished_at,
        duration_s=row.duration_s,
        error=None if row.error is None else decode(row.error.encode(), RunError),
    )


def utc(time: datetime) -> datetime:
    """Return a time in UTC, which is also the zone of times without one; raise `WireError` where that is no date."""
    if time.tzinfo is UTC:
        return time
    try:
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError:
        raise WireError(f"{time} is no date in UTC.") from None


def _kind(topic: str) -> tuple[Any, Any]:
    return (RunResult, topics.result) if topic.endswith("/result") else (RunStatus, topics.status)


def _in_utc(event: RunStatus | RunResult) -> RunStatus | RunResult:
    if isinstance(event, RunStatus):
        return event if event.at.tzinfo is UTC else replace(event, at=utc(event.at))
    return replace(
        event,
        accepted_at=utc(event.accepted_at),
        started_at=None if event.started_at is None else utc(event.started_at),
        finished_at=utc(event.finished_at),
    )


def _row(event: RunStatus | RunResult) -> RunRow:
    return _row_of_status(event) if isinstance(event, RunStatus) else _row_of_result(event)


def _row_of_status(status: RunStatus) -> RunRow:
    return RunRow(
        run_id=status.run_id,
        pipeline=status.pipeline,
        state=RunState.DELAYED if status.run_state is RunState.DELAYED else status.state,
        attempt=status.attempt,
        at=status.at,
        # Of a repeat this is too late, and the smaller time stands once the true one is heard.
        accepted_at=status.at if status.state is RunState.ACCEPTED else None,
        started_at=status.at if status.state is RunState.STARTED else None,
        runner=_text(status.runner),
        key=_text(status.key),
        retry_of=_text(status.retry_of),
        after=_text(status.after),
        traceparent=_text(status.traceparent),
        request=None if status.request is None else encode(status.request).decode(),
        timeline=timeline_of_status(status),
    )


def _row_of_result(result: RunResult) -> RunRow:
    return RunRow(
        run_id=result.run_id,
        pipeline=result.pipeline,
        state=result.state,
        attempt=result.attempt,
        at=min(filter(None, (result.accepted_at, result.started_at, result.finished_at))),
        accepted_at=result.accepted_at,
        started_at=result.started_at,
        finished_at=result.finished_at,
        runner=_text(result.runner),
        key=_text(result.key),
        traceparent=_text(result.traceparent),
        outputs=encode(result.outputs).decode() if result.outputs else None,
        account=_account(result),
        error=None if result.error is None else encode(result.error).decode(),
        timeline=timeline_of_result(result),
    )


def _account(result: RunResult) -> str | None:
    if not (result.nodes or result.log or result.dropped):
        return None
    return encode(RunAccount(nodes=result.nodes, log=result.log, dropped=result.dropped)).decode()


def _text(text: str | None) -> str | None:
    """Return what every database takes as text; PostgreSQL has no NUL."""
    return text and text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _contradicts(heard: RunRow, before: RunRow) -> bool:
    """Tell whether an event cannot be true beside what is known: another pipeline, a second end, an overtaken one."""
    if heard.pipeline != before.pipeline:
        return True
    if heard.state not in TERMINAL:
        return False
    return _outcome(heard) != _outcome(before) if before.state in TERMINAL else heard.attempt < before.attempt


def _outcome(row: RunRow) -> tuple[object, ...]:
    return (row.state, row.attempt, row.finished_at, row.outputs, row.error)


def _join(one: RunRow, other: RunRow) -> RunRow:
    ahead, behind = (other, one) if _progress(other) > _progress(one) else (one, other)
    joined = replace(
        ahead,
        at=min(one.at, other.at),
        accepted_at=_first(one.accepted_at, other.accepted_at),
        key=_first(one.key, other.key),
        retry_of=_first(one.retry_of, other.retry_of),
        after=_first(one.after, other.after),
        traceparent=_first(one.traceparent, other.traceparent),
        request=_first(one.request, other.request),
        timeline=join_timelines(one.timeline, other.timeline),
    )
    if ahead.attempt != behind.attempt:
        return joined
    return replace(
        joined,
        started_at=_first(one.started_at, other.started_at),
        runner=_first(one.runner, other.runner),
        account=_first(one.account, other.account),
    )


def _progress(row: RunRow) -> tuple[bool, int, int]:
    return (row.state in TERMINAL, row.attempt, _RANK[row.state])


def _first(one: _Comparable | None, other: _Comparable | None) -> _Comparable | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
