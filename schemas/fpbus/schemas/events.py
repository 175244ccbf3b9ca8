"""What services say in public: past-tense facts about runs, and the presence of services.

Readers ignore fields that they do not know. A message only ever gains optional fields.
"""

from datetime import datetime
from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from .codes import FailureCode, RejectionCode
from .requests import RunRequest
from .states import RunState


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that happened; the base of all of them."""


class RunStatus(Event, frozen=True, kw_only=True, omit_defaults=True, tag="run_status"):
    """A run moved on: accepted, queued (when it was delayed), started, retrying, lost.

    Topic `pipelines/{name}/runs/{run}/status`.

    A repeated request is answered with `accepted`, `duplicate: true` and the state that the run is in by now.
    `accepted` tells what was asked for, so that the history can show it, and have it run again.
    """

    run_id: str
    pipeline: str
    state: RunState
    at: datetime
    attempt: int = 0
    duplicate: bool = False
    run_state: RunState | None = None
    not_before: datetime | None = None
    runner: str | None = None
    key: str | None = None
    reason: str | None = None
    retry_of: str | None = None
    after: str | None = None
    request: RunRequest | None = None
    traceparent: str | None = None


class RunError(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a run did not succeed, in words for people and codes for programs."""

    code: FailureCode
    message: str
    type: str | None = None
    node: str | None = None
    traceback: str | None = None


class Output(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One output: inline JSON, or a reference to a file on the project's storage.

    `json_special` marks JSON in which NaN and the infinities stand as strings.
    """

    json: Any | UnsetType = UNSET
    json_special: bool = False
    ref: str | None = None
    format: str | None = None
    bytes: int | None = None
    summary: str | None = None


class NodeRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a node ended, or that it only `started`; `at` is when that was. `cached`: its value came from the cache."""

    node: str
    state: Literal["started", "finished", "failed"]
    at: datetime
    duration_s: float | None = None
    summary: str | None = None
    error: str | None = None
    cached: bool = False


class LogLine(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line that a pipeline printed or logged."""

    at: datetime
    level: str
    text: str


class RunAccount(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the nodes of an attempt did, the last lines of its log, and how many of both there was no room for."""

    nodes: list[NodeRecord] = []
    log: list[LogLine] = []
    dropped: int = 0


class RunResult(Event, frozen=True, kw_only=True, omit_defaults=True, tag="run_result"):
    """The one terminal event of a run. Topic `pipelines/{name}/runs/{run}/result`.

    `hops` is how many runs before it led to it, each by its end or its answer.
    The last three are a `RunAccount`. What goes to a `reply_to` has none: devices have small buffers.
    """

    run_id: str
    pipeline: str
    state: RunState
    attempt: int
    accepted_at: datetime
    finished_at: datetime
    started_at: datetime | None = None
    runner: str | None = None
    key: str | None = None
    outputs: dict[str, Output] = {}
    error: RunError | None = None
    hops: int = 0
    traceparent: str | None = None
    nodes: list[NodeRecord] = []
    log: list[LogLine] = []
    dropped: int = 0


class NodeEvent(Event, frozen=True, kw_only=True, omit_defaults=True, tag="node_event"):
    """A node of a run started or ended. Topic `pipelines/{name}/runs/{run}/nodes/{node}`.

    `cached` says that its value came from the cache.
    """

    run_id: str
    pipeline: str
    node: str
    event: Literal["started", "finished", "failed"]
    at: datetime
    duration_s: float | None = None
    summary: str | None = None
    error: str | None = None
    cached: bool = False


class LogLines(Event, frozen=True, kw_only=True, omit_defaults=True, tag="log_lines"):
    """What a run said, batched. Topic `pipelines/{name}/runs/{run}/log`."""

    run_id: str
    pipeline: str
    lines: list[LogLine]
    dropped: int = 0


class Rejection(Event, frozen=True, kw_only=True, omit_defaults=True, tag="rejection"):
    """A message that did not become a run. `head` holds its first bytes, `digest` its BLAKE2b-128 in hex."""

    code: RejectionCode
    message: str
    at: datetime
    topic: str
    size: int
    digest: str
    head: str
    field: str | None = None
    pipeline: str | None = None
    run_id: str | None = None
    reply_id: str | None = None
    hops: int = 0


class Receipt(Struct, frozen=True, kw_only=True):
    """One attempt of one run that is in the history."""

    run_id: str
    attempt: int


class Recorded(Event, frozen=True, kw_only=True, omit_defaults=True, tag="recorded"):
    """The results of one commit of the recorder. Topic `fpbus/recorded`."""

    receipts: list[Receipt]


class QueuePressure(Struct, frozen=True, kw_only=True):
    """What waits in one queue: so many runs, the first of them since `oldest_s` seconds.

    Who comes now waits about `wait_s` seconds, as fast as the queue was worked off of late; null while nobody does.
    """

    queue: str
    depth: int
    oldest_s: float
    wait_s: float | None


class Pressure(Event, frozen=True, kw_only=True, omit_defaults=True, tag="pressure"):
    """What waits in all queues, and how many results wait to be recorded. Topic `fpbus/pressure`, retained."""

    at: datetime
    queues: list[QueuePressure]
    unrecorded: int = 0


class Latest(Event, frozen=True, kw_only=True, omit_defaults=True, tag="latest"):
    """The last finished run of a pipeline, retained. Topic `pipelines/{name}/latest`."""

    run_id: str
    pipeline: str
    state: RunState
    attempt: int
    finished_at: datetime
    duration_s: float | None = None
    error: RunError | None = None


class ServiceStatus(Event, frozen=True, kw_only=True, omit_defaults=True, tag="service_status"):
    """Is a service there, and how is it. Retained; the last will says `online: false`, `gone`.

    A will repeats `since` of the birth that it belongs to, so that a stale one can be told from a true one;
    `started` is when the process began, and tells two of the same name apart.
    """

    online: bool
    state: Literal["init", "ready", "degraded", "stopping", "gone"]
    since: datetime
    role: str
    instance: str
    version: str
    started: datetime | None = None
    pid: int = 0
    active: bool = True
    reason: str | None = None
    lease: str | None = None


class PipelineSchema(Event, frozen=True, kw_only=True, omit_defaults=True, tag="pipeline_schema"):
    """What a pipeline takes and gives, as JSON Schema (2020-12). Retained on `pipelines/{name}/schema`.

    `version` changes when one of the two does. `source` tells which state of the project's files it was read from.
    """

    pipeline: str
    version: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    source: str | None = None
