"""Commands and queries over `fpbus/call/{service}/{verb}`, and their replies.

A caller on MQTT 5 names its reply topic and a correlation in the packet's properties; on MQTT 3.1.1
both stand in the body, beside the arguments, as `reply_to` and `call_id`.
"""

from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta, Struct

from .codes import CallCode
from .events import LogLine, NodeRecord, RunStatus
from .names import PipelineName, RunId
from .requests import RunRequest
from .schedules import ScheduleId
from .states import RunState


class CallFailure(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a call was not done; `field` names the argument, `hint` says what to do."""

    code: CallCode
    message: str
    hint: str | None = None
    field: str | None = None
    detail: str | None = None


class Reply(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="reply"):
    """The answer to one call: `result`, or `error`. `instance` says who answered."""

    service: str
    verb: str
    instance: str
    call_id: str | None = None
    result: Any = None
    error: CallFailure | None = None


class NoArguments(Struct, frozen=True, forbid_unknown_fields=True):
    """The arguments of a call that has none."""


class Submit(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`dispatcher/submit`: a run request from an operator, who may override how the pipeline runs."""

    pipeline: PipelineName
    request: RunRequest = RunRequest()


class Submitted(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Answer to `submit` and `retry`: the status that was published for the run.

    Here its `reason` says when no worker serves the queue of the run.
    """

    status: RunStatus


class Cancel(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`dispatcher/cancel`, `runner/cancel`: end a run that has not ended."""

    run_id: RunId


class Cancelled(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Answer to `cancel`: the state the run was found in, and whether anything was left to cancel."""

    run_id: str
    state: RunState
    cancelling: bool


class QueueDepth(Struct, frozen=True, kw_only=True):
    """How many runs wait in one queue, for their turn or for their time, and how many workers serve it."""

    name: str
    queued: int
    delayed: int
    workers: int = 0


class HeldRuns(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A pipeline that is paused since then, or whose limits make runs wait: how many of them wait beside the queue."""

    pipeline: str
    held: int
    paused_since: datetime | None = None


class Queues(Struct, frozen=True, kw_only=True):
    """Answer to `dispatcher/queues`."""

    queues: list[QueueDepth]
    running: int
    open: int
    unrecorded: int
    held: list[HeldRuns] = []


class TriggerInfo(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One trigger, and what became of the messages on its topic since counting began.

    Messages that were `taken` are in runs, `held` by a window, `replaced` by a later one, or `discarded`. Others were
    `passed` over, or `rejected`. Messages that came twice may be counted twice, save those of windows.
    """

    pipeline: str
    trigger: str
    topic: str
    window: str | None = None
    counts: dict[str, int] = {}


class WorkerInfo(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One worker of a runner, and what it does now: `idle`, `busy`, or `leaving` after the run in hand.

    `runs` is how many it has begun, `pid` its work-horse.
    """

    name: str
    state: str
    queues: list[str]
    pid: int
    runs: int
    run_id: str | None = None
    pipeline: str | None = None
    since: datetime | None = None


class SetWorkers(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`runner/set_workers`: have so many until the process ends. All runners hear it; the one that is named does it."""

    instance: Annotated[str, Meta(min_length=1, max_length=128)]
    workers: Annotated[int, Meta(ge=1, le=1024)]


class WorkersSet(Struct, frozen=True, kw_only=True):
    """Answer to `set_workers`: how many there were, and are. Those who leave finish the run in hand first."""

    instance: str
    before: int
    workers: int


class ListRuns(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`recorder/list_runs`: newest first. The next page is what is `older_than` the last run of this one.

    `schedule` is the id of a schedule: runs that it asked for are known by their ids.
    """

    pipeline: PipelineName | None = None
    state: RunState | None = None
    key: str | None = None
    schedule: ScheduleId | None = None
    older_than: RunId | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 50
    offset: Annotated[int, Meta(ge=0)] = 0


class ShowRun(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`recorder/show_run`."""

    run_id: RunId


class Stats(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`recorder/stats`: of runs that ended in the hour of `since` or later, or of all."""

    pipeline: PipelineName | None = None
    since: datetime | None = None


class Moment(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When a run came into a state. Each attempt comes into each state once."""

    at: datetime
    state: RunState
    attempt: int = 0
    runner: str | None = None
    reason: str | None = None


class RunRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One run as the history remembers it. `outputs`, `error` and the last three are those of the recorded attempt.

    `after` is the run whose end asked for this one, `retry_of` the one that this one repeats. A listing has no
    `outputs`, no `request`, no `timeline`, and none of the last three.
    """

    run_id: str
    pipeline: str
    state: RunState
    attempt: int
    accepted_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    duration_s: float | None = None
    runner: str | None = None
    key: str | None = None
    retry_of: str | None = None
    after: str | None = None
    traceparent: str | None = None
    request: RunRequest | None = None
    outputs: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    timeline: list[Moment] = []
    nodes: list[NodeRecord] = []
    log: list[LogLine] = []
    dropped: int = 0


class PipelineStats(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Counts of one pipeline's runs by state, and the durations of those that ended, in seconds.

    Percentiles are right to 5 %. `failure_rate` is the share of failed and dead runs among those that were tried.
    """

    pipeline: str
    runs: int
    states: dict[str, int]
    failure_rate: float | None = None
    mean_duration_s: float | None = None
    p50_s: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None
    last_finished_at: datetime | None = None
