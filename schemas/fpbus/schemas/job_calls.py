"""What an operator can ask the dispatcher about queued and running runs, and what it answers."""

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from .names import PipelineName, RunId
from .requests import RunRequest
from .states import RunState

#: Where a run can be found in Redis; `paused` are the queued runs of paused pipelines.
JobState = Literal["delayed", "queued", "paused", "started", "retrying", "succeeded", "failed", "cancelled", "dead"]

#: Why a queued run is not started although workers are free; `turn`: it came back, and has its turn with those;
#: `unserved`: no worker serves its queue.
Held = Literal["paused", "limit", "rate", "turn", "unserved"]

QueueName = Annotated[str, Meta(min_length=1, max_length=128)]


class ListJobs(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`dispatcher/list_jobs`: a page of the runs that are in Redis. Without `state` those that have not ended.

    `offset` is 0, or `next_offset` of the page before. With a filter a page may be short, or empty, and go on.
    """

    queue: QueueName | None = None
    state: JobState | None = None
    pipeline: PipelineName | None = None
    newest: bool = False
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50
    offset: Annotated[int, Meta(ge=0)] = 0


class JobInfo(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A run as it lies in Redis. `due_at` is when one that is delayed or tried again is queued.

    `request` is shown by `show_job` only.
    """

    run_id: str
    pipeline: str
    state: RunState
    queue: str | None = None
    held: Held | None = None
    key: str | None = None
    attempt: int = 0
    lost: int = 0
    worker: str | None = None
    accepted_at: datetime | None = None
    due_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    timeout_s: float | None = None
    retry_of: str | None = None
    request: RunRequest | None = None


class JobPage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Answer to `list_jobs`. `total` is how many there are before any filter by pipeline."""

    jobs: list[JobInfo]
    total: int
    next_offset: int | None = None


class ShowJob(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`dispatcher/show_job`."""

    run_id: RunId


class ChooseJobs(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`dispatcher/cancel`, `dispatcher/delete`: one run, or all that fit. `every` is for all there are.

    Many are done in steps: ask again with the `cursor` of the answer until it has none.
    """

    run_id: RunId | None = None
    queue: QueueName | None = None
    pipeline: PipelineName | None = None
    state: JobState | None = None
    every: bool = False
    cursor: Annotated[str, Meta(pattern=r"^\d{1,4}:\d{1,12}$")] | None = None


class CancelledJobs(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Answer to `cancel` of many, one step: how many ended now, and how many are being stopped by their workers."""

    cancelled: int
    cancelling: int
    cursor: str | None = None


class DeletedJobs(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Answer to `delete`, one step. `cancelled` of the `deleted` had not ended; those `cancelling` go when they end."""

    deleted: int
    cancelled: int
    cancelling: int
    cursor: str | None = None


class RetryJob(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`dispatcher/retry`: run again what has ended, as a new run. `inputs` are laid over those of the first.

    `new_run_id` makes asking again harmless. `pipeline` and `request` are what the history knows of the run; they
    count only when Redis has forgotten it.
    """

    run_id: RunId
    inputs: dict[str, Any] | None = None
    new_run_id: RunId | None = None
    pipeline: PipelineName | None = None
    request: RunRequest | None = None


class NamePipeline(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`dispatcher/pause_pipeline`, `dispatcher/resume_pipeline`."""

    pipeline: PipelineName


class PipelineSwitched(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Answer to `pause_pipeline` and `resume_pipeline`: is it paused, did that change, how many runs it holds."""

    pipeline: str
    paused: bool
    changed: bool
    held: int
