"""Decisions of the scheduler: what is planned, which run a slot is, what a late wake-up still does."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from itertools import islice, takewhile
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from fpbus.schemas import CronFields, FpbusError, PipelineConfig, ProjectConfig, RunRequest, ScheduleConfig, encode

from .cron_fields import CronFieldsTrigger
from .triggers import LATE, CronTrigger, DateTrigger, IntervalTrigger, Trigger, TriggerError

_PREFIX_CHARS: Final = 34
_PATIENCE_AT_LEAST: Final = timedelta(minutes=5)
_COUNT_AT_MOST: Final = 10_000


class ScheduleError(FpbusError):
    """A schedule in the configuration cannot be used; the sentence names file, key and value."""

    def __init__(self, file: str, key: str, value: Any, must: str) -> None:
        shown = repr(msgspec.to_builtins(value))[:80]
        super().__init__(f"conf/{file}.yml: `{key}` is {shown}; {must}")


@dataclass(frozen=True)
class PlannedSchedule:
    """One schedule, ready to be timed. A schedule of a YAML file has the name of its pipeline as its id.

    A request that is repeated after `dedup_window` would be a second run.
    """

    id: str
    pipeline: str
    trigger: Trigger
    timezone: str
    enabled: bool
    dedup_window: timedelta


@dataclass(frozen=True)
class Slot:
    """One due time of one schedule, as the run request that it becomes.

    `patience` is how long it is sent again when nobody accepts it: until the next slot, five minutes at least.
    `digest` is what a rejection of it would name.
    """

    run_id: str
    pipeline: str
    request: RunRequest
    digest: str
    patience: timedelta


def plan(pipelines: Mapping[str, PipelineConfig], project: ProjectConfig) -> list[PlannedSchedule]:
    """Read the schedules of all pipelines; raise `ScheduleError` for the first that cannot be used."""
    return [_planned(name, config.schedule, project) for name, config in pipelines.items() if config.schedule]


def changes(
    before: Sequence[PlannedSchedule], after: Sequence[PlannedSchedule]
) -> tuple[list[PlannedSchedule], list[PlannedSchedule]]:
    """Return the schedules to stop timing and those to begin with; one that has changed is in both."""
    old, new = frozenset(before), frozenset(after)
    return [one for one in before if one not in new], [one for one in after if one not in old]


def run_id_of(schedule_id: str, due: datetime) -> str:
    """Return the id of a slot's run, like `daily_sales-20260329T010000Z-cbbb089c826c`.

    It depends on nothing else: whichever scheduler fires the slot, and however often, it is the same run.
    """
    name = re.sub(r"[^A-Za-z0-9_-]", "_", schedule_id)[:_PREFIX_CHARS]
    moment = due.astimezone(UTC)
    digest = blake2b(f"{schedule_id}\n{moment.isoformat()}".encode(), digest_size=6).hexdigest()
    return f"{name}-{moment:%Y%m%dT%H%M%SZ}-{digest}"


def slot_of(schedule: PlannedSchedule, due: datetime) -> Slot:
    """Make the request of one slot. It holds an id only: how the pipeline runs is the dispatcher's to know."""
    run_id = run_id_of(schedule.id, due)
    request = RunRequest(run_id=run_id)
    following = schedule.trigger.next_after(due) or due
    return Slot(
        run_id=run_id,
        pipeline=schedule.pipeline,
        request=request,
        digest=blake2b(encode(request), digest_size=16).hexdigest(),
        patience=min(max(_PATIENCE_AT_LEAST, following - due), schedule.dedup_window),
    )


def on_waking(schedule: PlannedSchedule, due_times: Sequence[datetime], now: datetime) -> tuple[list[datetime], int]:
    """Return the due times that still fire, and how many were skipped because they are older than a minute.

    The count ends at 10,000: a machine may wake after years.
    """
    oldest = now - LATE
    first = due_times[0]
    if first >= oldest:
        return list(due_times), 0
    missed = takewhile(lambda due: due < oldest, schedule.trigger.due_times(first))
    return [due for due in due_times if due >= oldest], 1 + sum(1 for _ in islice(missed, _COUNT_AT_MOST - 1))


def _planned(pipeline: str, schedule: ScheduleConfig, project: ProjectConfig) -> PlannedSchedule:
    zone = _zone(pipeline, schedule, project)
    return PlannedSchedule(
        id=pipeline,
        pipeline=pipeline,
        trigger=_trigger(pipeline, schedule, zone),
        timezone=zone.key,
        enabled=schedule.enabled,
        dedup_window=timedelta(seconds=project.limits.dedup_window_s),
    )


def _zone(pipeline: str, schedule: ScheduleConfig, project: ProjectConfig) -> ZoneInfo:
    name = schedule.timezone or project.timezone
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        file, key = (f"pipelines/{pipeline}", "schedule.timezone") if schedule.timezone else ("project", "timezone")
        raise ScheduleError(file, key, name, "it must be an IANA time zone such as 'Europe/Berlin'.") from None


def _trigger(pipeline: str, schedule: ScheduleConfig, zone: ZoneInfo) -> Trigger:
    file = f"pipelines/{pipeline}"
    given = {key: value for key in ("cron", "interval", "date") if (value := getattr(schedule, key)) is not None}
    if len(given) != 1:
        raise ScheduleError(file, "schedule", schedule, "it must have one of `cron`, `interval` and `date`.")
    ((key, value),) = given.items()
    try:
        if key == "interval":
            return IntervalTrigger.parse(value)
        if key == "date":
            return DateTrigger.parse(value, zone)
        return CronFieldsTrigger.of(value, zone) if isinstance(value, CronFields) else CronTrigger(value, zone)
    except TriggerError as error:
        raise ScheduleError(file, f"schedule.{key}", value, str(error)) from None
