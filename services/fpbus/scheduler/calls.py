"""What the scheduler can be asked, and what it answers. Times are in UTC."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from fpbus.schemas import PipelineName


class ListSchedules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`scheduler/list`."""


class ScheduleInfo(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One schedule. `next_due` is absent while it is not active."""

    id: str
    pipeline: str
    trigger: str
    timezone: str
    active: bool
    next_due: datetime | None = None


class Schedules(Struct, frozen=True, kw_only=True):
    """Answer to `list`."""

    schedules: list[ScheduleInfo]


class Explain(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`scheduler/explain`: when would a pipeline's schedule be due, be it active or not."""

    pipeline: PipelineName
    count: Annotated[int, Meta(ge=1, le=100)] = 5


class Explained(Struct, frozen=True, kw_only=True):
    """Answer to `explain`."""

    schedule: ScheduleInfo
    due: list[datetime]
