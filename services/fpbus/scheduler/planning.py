"""From what people write to what can be timed: specs of files and calls, checked, with their triggers."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from fpbus.schemas import (
    CronFields,
    FpbusError,
    IntervalFields,
    PipelineConfig,
    ProjectConfig,
    PutSchedule,
    RunSettings,
    ScheduleConfig,
    ScheduleSpec,
    Timing,
    encode,
    lay,
)

from .cron_fields import CronFieldsTrigger
from .triggers import Bounded, CronTrigger, DateTrigger, IntervalTrigger, Trigger, TriggerError, moment_of

KINDS: Final = ("cron", "interval", "date")
_ID_CHARS: Final = 100


class ScheduleError(FpbusError):
    """A schedule cannot be used; the sentence names file, key and value. `key` is the key alone."""

    def __init__(self, where: str, key: str, value: Any, must: str) -> None:
        shown = repr(msgspec.to_builtins(value))[:80]
        super().__init__(f"{where}{key}` is {shown}; {must}")
        self.key = key


@dataclass(frozen=True, slots=True)
class PlannedSchedule:
    """One schedule, ready to be timed."""

    spec: ScheduleSpec
    trigger: Trigger

    @property
    def id(self) -> str:
        return self.spec.id


def specs_of_files(pipelines: Mapping[str, PipelineConfig], project: ProjectConfig) -> list[ScheduleSpec]:
    """Read the schedules of all pipelines that are enabled; raise `ScheduleError` for the first that cannot be used."""
    specs: dict[str, ScheduleSpec] = {}
    for name, config in pipelines.items():
        if config.schedule is not None:
            spec = spec_of_file(name, config.schedule, project)
            other = specs.get(spec.id)
            if other is not None:
                must = f"the schedule of {other.pipeline!r} has that id."
                raise ScheduleError(file_of(name), "id", spec.id, must)
            specs[spec.id] = spec
    return [spec for spec in specs.values() if (pipelines[spec.pipeline].schedule or ScheduleConfig()).enabled]


def spec_of_file(pipeline: str, schedule: ScheduleConfig, project: ProjectConfig) -> ScheduleSpec:
    """Read `schedule:` of one pipeline; raise `ScheduleError` when it cannot be used."""
    if not schedule.timezone:
        _zone("conf/project.yml: `", project.timezone)
    spec = ScheduleSpec(
        **_timing(schedule, schedule.timezone or project.timezone),
        id=schedule.id or pipeline,
        pipeline=pipeline,
        settings=schedule.settings,
        priority=schedule.priority,
        key=schedule.key,
        origin="yaml",
    )
    planned(spec, file_of(pipeline))
    return spec


def spec_of_call(put: PutSchedule, config: PipelineConfig, project: ProjectConfig) -> ScheduleSpec:
    """Make the spec that a call asks for; raise `ScheduleError` when it cannot be used.

    Without a trigger of its own it is the file's, changed by what the call says; unchanged, it is the file's
    schedule itself.
    """
    if any(getattr(put, kind) is not None for kind in KINDS):
        spec = ScheduleSpec(
            **_timing(put, put.timezone or project.timezone),
            id=put.id or "-",
            pipeline=put.pipeline,
            settings=put.settings,
            priority=put.priority,
            key=put.key,
        )
        spec = msgspec.structs.replace(spec, id=put.id or _id_of(spec))
        planned(spec)
    elif config.schedule is not None:
        spec = _changed(spec_of_file(put.pipeline, config.schedule, project), put)
        planned(spec)
    else:
        must = "it must have one of `cron`, `interval` and `date`, as the pipeline's file has no `schedule:`."
        raise ScheduleError("`", "schedule", {}, must)
    return msgspec.structs.replace(spec, paused=put.paused)


def planned(spec: ScheduleSpec, where: str = "`") -> PlannedSchedule:
    """Make a spec's trigger; raise `ScheduleError` when there is none. `where` stands before the key."""
    zone = _zone(where, spec.timezone or "UTC")
    start, end = (_bound(spec, key, zone, where) for key in ("start", "end"))
    if start and end and end < start:
        raise ScheduleError(where, "end", spec.end, "it must not be before `start`.")
    trigger = _trigger(spec, zone, start or spec.since, where)
    if isinstance(trigger, IntervalTrigger):
        start = None  # it counts from there
    return PlannedSchedule(spec, Bounded(trigger, start, end) if start or end else trigger)


def timed(spec: ScheduleSpec, before: ScheduleSpec | None, now: datetime) -> ScheduleSpec:
    """Say since when a spec counts: as before when its timing has not changed, else from now on."""
    if before is not None and _grid(before) == _grid(spec):
        return msgspec.structs.replace(spec, since=before.since)
    return msgspec.structs.replace(spec, since=now.replace(microsecond=0))


def same(spec: ScheduleSpec, other: ScheduleSpec) -> bool:
    """Are two specs the same, since whenever, and be one of them paused."""
    return msgspec.structs.replace(spec, since=other.since, paused=other.paused) == other


def trigger_of_text(text: str, zone: ZoneInfo, start: datetime) -> Trigger:
    """Read an expression as a person types it: an interval, an ISO time, JSON fields, or else a cron line."""
    text = text.strip()
    if text.startswith("{"):
        return _trigger_of_json(text, zone, start)
    try:
        return IntervalTrigger.parse(float(text) if text.replace(".", "", 1).isdigit() else text, start)
    except TriggerError:
        if text[:1].isdigit() and text[-1:] in "wdhms":
            raise
    if text[:4].isdigit() and text[4:5] == "-":
        return DateTrigger.parse(text, zone)
    return CronTrigger(text, zone)


def file_of(pipeline: str) -> str:
    """Return what stands before a key of a pipeline's `schedule:` in a sentence."""
    return f"conf/pipelines/{pipeline}.yml: `schedule."


def _trigger_of_json(text: str, zone: ZoneInfo, start: datetime) -> Trigger:
    with contextlib.suppress(msgspec.MsgspecError):
        return IntervalTrigger.parse(msgspec.json.decode(text, type=IntervalFields), start)
    try:
        return CronFieldsTrigger.of(msgspec.json.decode(text, type=CronFields), zone)
    except msgspec.MsgspecError:
        must = "it must be a JSON object with fields of cron (hour ...) or of an interval (hours ...)."
        raise TriggerError(must) from None


def _timing(timing: Timing, timezone: str) -> dict[str, Any]:
    return {name: getattr(timing, name) for name in Timing.__struct_fields__} | {"timezone": timezone}


def _grid(spec: ScheduleSpec) -> tuple[Any, ...]:
    return spec.cron, spec.interval, spec.date, spec.timezone, spec.start, spec.end, spec.pipeline


def _changed(spec: ScheduleSpec, put: PutSchedule) -> ScheduleSpec:
    said = {
        name: value
        for name in (*Timing.__struct_fields__, "id", "priority", "key")
        if (value := getattr(put, name)) != getattr(PutSchedule(pipeline=put.pipeline), name)
    }
    settings = {
        name: value for name in put.settings.__struct_fields__ if (value := getattr(put.settings, name)) is not None
    }
    if not said and not settings:
        return spec
    laid = msgspec.convert(lay(msgspec.structs.asdict(spec.settings), settings), RunSettings)
    return msgspec.structs.replace(spec, **said, settings=laid, origin="call")


def _id_of(spec: ScheduleSpec) -> str:
    """Derive an id from pipeline and trigger, such as `daily_sales-cron-1f6a90`."""
    kind = next(kind for kind in KINDS if getattr(spec, kind) is not None)
    digest = blake2b(encode([getattr(spec, kind), spec.timezone]), digest_size=3).hexdigest()
    return f"{spec.pipeline[:_ID_CHARS]}-{kind}-{digest}"


def _zone(where: str, name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise ScheduleError(where, "timezone", name, "it must be an IANA time zone such as 'Europe/Berlin'.") from None


def _bound(spec: ScheduleSpec, key: str, zone: ZoneInfo, where: str) -> datetime | None:
    text: str | None = getattr(spec, key)
    try:
        return None if text is None else moment_of(text, zone)
    except TriggerError as error:
        raise ScheduleError(where, key, text, str(error)) from None


def _trigger(spec: ScheduleSpec, zone: ZoneInfo, start: datetime | None, where: str) -> Trigger:
    given = {kind: value for kind in KINDS if (value := getattr(spec, kind)) is not None}
    if len(given) != 1:
        where = where.removesuffix("schedule.")
        raise ScheduleError(where, "schedule", given, "it must have one of `cron`, `interval` and `date`.")
    ((kind, value),) = given.items()
    try:
        if kind == "interval":
            return IntervalTrigger.parse(value, start or datetime.fromtimestamp(0, UTC))
        if kind == "date":
            return DateTrigger.parse(value, zone)
        return CronFieldsTrigger.of(value, zone) if isinstance(value, CronFields) else CronTrigger(value, zone)
    except TriggerError as error:
        raise ScheduleError(where, kind, value, str(error)) from None
    except OverflowError:
        raise ScheduleError(where, kind, value, "it lies beyond the year 9999.") from None
