"""When a pipeline runs by itself: `schedule:` in the forms that people write, and schedules as the store keeps them.

Times are ISO texts; one without a zone is in the schedule's own.
"""

import re
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from .codes import Priority
from .names import PipelineName
from .settings import MOST_SECONDS, Delay, Jitter, LogLevel, Retries, RunSettings, Timeout

SCHEDULE_ID_PATTERN: Final = r"^[A-Za-z0-9_.:@-]{1,128}(?!\n)$"

ScheduleId = Annotated[
    str, Meta(pattern=SCHEDULE_ID_PATTERN, description="Up to 128 of letters, digits, '_', '.', ':', '@' and '-'.")
]
_NAME_CHARS: Final = 34
Seconds = Annotated[float, Meta(ge=0, le=MOST_SECONDS)]
Spread = Annotated[float, Meta(ge=0, le=86_400)]
Slots = Annotated[int, Meta(ge=0, le=10_000)]

#: What becomes of slots that were missed because no scheduler ran: all of them, the latest one, or none.
Misfire = Literal["all", "last", "none"]
Origin = Literal["yaml", "call"]


class IntervalFields(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """An interval in parts, as in `interval: {hours: 4, minutes: 30}`."""

    weeks: float = 0
    days: float = 0
    hours: float = 0
    minutes: float = 0
    seconds: float = 0


class CronFields(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Cron in parts, as in `cron: {minute: 0, hour: 3, day_of_week: mon-fri}`.

    As APScheduler has it, a part left out is `*` above the smallest part given, and the least value below it.
    """

    year: int | str | None = None
    month: int | str | None = None
    week: int | str | None = None
    day: int | str | None = None
    day_of_week: int | str | None = None
    hour: int | str | None = None
    minute: int | str | None = None
    second: int | str | None = None


class Timing(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """When: one of `cron`, `interval` and `date`, and the IANA zone that it counts in.

    Nothing is due before `start` or after `end`. A run starts up to `jitter_s` seconds after it is due, which
    is drawn for each due time anew. Of the slots that were missed, `misfire` says which are made up for: those not
    older than `grace_s` (None: however old), and never more than the latest `catch_up`.
    """

    cron: str | CronFields | None = None
    interval: float | str | IntervalFields | None = None
    date: str | None = None
    timezone: str | None = None
    start: str | None = None
    end: str | None = None
    jitter_s: Spread = 0.0
    misfire: Misfire = "last"
    grace_s: Seconds | None = None
    catch_up: Slots = 100


class ScheduleConfig(Timing, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`schedule:` of a pipeline. Without `id` the schedule has the pipeline's name.

    The settings of `RunSettings` may stand here too: they are for scheduled runs only, and lie over `run:`.
    """

    id: ScheduleId | None = None
    enabled: bool = True
    priority: Priority | None = None
    key: Annotated[str, Meta(max_length=256)] | None = None
    inputs: dict[str, Any] | None = None
    final_vars: list[str] | None = None
    config: dict[str, Any] | None = None
    cache: bool | dict[str, Any] | None = None
    executor: str | dict[str, Any] | None = None
    with_adapter: dict[str, Any] | None = None
    max_retries: Retries | None = None
    retry_delay: Delay | None = None
    jitter_factor: Jitter | None = None
    retry_exceptions: list[str] | None = None
    timeout_s: Timeout | None = None
    log_level: LogLevel | None = None

    @property
    def settings(self) -> RunSettings:
        """The settings of its runs."""
        return RunSettings(**{name: getattr(self, name) for name in RunSettings.__struct_fields__})


class ScheduleSpec(Timing, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One schedule as the store keeps it.

    `since` is when its timing was stored: no slot is older, and an interval without `start` counts from there.
    """

    id: ScheduleId
    pipeline: PipelineName
    settings: RunSettings = RunSettings()
    priority: Priority | None = None
    key: Annotated[str, Meta(max_length=256)] | None = None
    paused: bool = False
    origin: Origin = "call"
    since: datetime | None = None


def run_id_prefix(schedule_id: str) -> str:
    """Return how the ids of a schedule's runs begin, before the due time: `daily-20260329T010000Z-cbbb089c826c`."""
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', schedule_id)[:_NAME_CHARS]}-"
