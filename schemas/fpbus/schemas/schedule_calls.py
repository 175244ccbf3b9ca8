"""What the scheduler can be asked, `fpbus/call/scheduler/{verb}`, and what it answers. Times in answers are in UTC."""

from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta, Struct, field

from .codes import Priority
from .names import PipelineName
from .schedules import Origin, ScheduleId, ScheduleSpec, Timing
from .settings import RunSettings


class PutSchedule(Timing, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`scheduler/put_schedule`: store a schedule, which is active from then on.

    Without any of `cron`, `interval` and `date` the timing is the one in the pipeline's file, below what is said
    here, and so are the settings. Without `id` it is derived from pipeline and trigger, or the file's. An
    id that is taken is refused (`rejected`, detail `conflict`) without `overwrite`.
    """

    pipeline: PipelineName
    id: ScheduleId | None = None
    settings: RunSettings = RunSettings()
    priority: Priority | None = None
    key: Annotated[str, Meta(max_length=256)] | None = None
    paused: bool = False
    overwrite: bool = False


class ScheduleAll(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`scheduler/schedule_all`: make the store agree with the schedules in the pipelines' files.

    `executor` is for all of them, over their own. An id that a call has taken is replaced with `overwrite` only.
    """

    executor: str | dict[str, Any] | None = None
    overwrite: bool = False


class Reconciled(Struct, frozen=True, kw_only=True):
    """Answer to `schedule_all`: ids of schedules, each in one list. `conflicts` were left as they are."""

    added: list[str]
    changed: list[str]
    removed: list[str]
    unchanged: list[str]
    conflicts: list[str]


class ChooseSchedules(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`scheduler/pause`, `resume` and `remove`: one schedule, or all with `every`."""

    id: ScheduleId | None = None
    every: bool = False


class ChangedSchedules(Struct, frozen=True, kw_only=True):
    """Answer to `pause`, `resume` and `remove`: what was changed, and what already was so."""

    changed: list[str]
    unchanged: list[str]


class ListSchedules(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`scheduler/list`: the schedules in the store, by id."""

    id: ScheduleId | None = None
    pipeline: PipelineName | None = None
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 1000
    offset: Annotated[int, Meta(ge=0)] = 0


class ScheduleInfo(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One schedule. `next_due` is absent when nothing is due any more, or while it is paused.

    `last_error` is why the latest run was not accepted, absent when it was.
    """

    id: str
    pipeline: str
    trigger: str
    timezone: str
    active: bool
    paused: bool = False
    origin: Origin = "call"
    next_due: datetime | None = None
    last_fired: datetime | None = None
    last_error: str | None = None
    spec: ScheduleSpec | None = None


class Schedules(Struct, frozen=True, kw_only=True):
    """Answer to `list`: those wanted, and how many there are without `limit` and `offset`."""

    schedules: list[ScheduleInfo]
    total: int


class StoredSchedule(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Answer to `put_schedule`."""

    schedule: ScheduleInfo
    replaced: bool = False


class Explain(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`scheduler/explain`: when would it be due, be it active or not.

    `what` is the id of a schedule, a pipeline whose file has one, or an expression: a cron line, an interval such
    as `1h30m`, an ISO time, or JSON fields of either. `timezone` and `start` (from when on, default now) win over
    what the schedule says.
    """

    what: Annotated[str, Meta(min_length=1, max_length=1000)]
    timezone: str | None = None
    start: str | None = field(default=None, name="from")
    count: Annotated[int, Meta(ge=1, le=1000)] = 5


class Fire(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One due time, in UTC and as the clocks of the zone show it, and what is odd about it."""

    utc: datetime
    local: datetime
    notes: list[str] = []


class Explained(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Answer to `explain`. `schedule` is absent for an expression."""

    trigger: str
    timezone: str
    fires: list[Fire]
    notes: list[str] = []
    schedule: ScheduleInfo | None = None
