"""`explain`: the next due times of anything that has some, with what is odd about them."""

from datetime import datetime
from itertools import islice
from zoneinfo import ZoneInfo

import msgspec

from fpbus.schemas import Explain, Explained, Fire, ProjectConfig, ScheduleInfo, ScheduleSpec

from .planning import ScheduleError, planned, trigger_of_text
from .store import Stored
from .triggers import Trigger, TriggerError, moment_of


def explain_spec(explain: Explain, spec: ScheduleSpec, info: ScheduleInfo | None, now: datetime) -> Explained:
    """Explain a schedule, in the store or in a file, in its own zone or the one that is asked for."""
    spec = msgspec.structs.replace(spec, timezone=explain.timezone or spec.timezone)
    if spec.since is None:
        spec = msgspec.structs.replace(spec, since=now)
    notes = [] if info else ["not active; `fpbus pipeline schedule-all` activates it"]
    if spec.paused:
        notes.append("paused")
    if spec.jitter_s:
        notes.append(f"runs start up to {spec.jitter_s:g} s later")
    return _explained(explain, planned(spec).trigger, zone_of(spec.timezone or "UTC"), now, info, notes)


def explain_text(explain: Explain, project: ProjectConfig, now: datetime) -> Explained:
    """Explain an expression; raise `ScheduleError` when it is none."""
    zone = zone_of(explain.timezone or project.timezone)
    try:
        trigger = trigger_of_text(explain.what, zone, _start(explain, zone, now))
    except TriggerError as error:
        raise ScheduleError("`", "what", explain.what, f"as an expression, {error}") from None
    return _explained(explain, trigger, zone, now, None, [])


def info_of(stored: Stored, now: datetime) -> ScheduleInfo:
    """Tell everything about a schedule in the store."""
    spec = stored.spec
    try:
        plan = planned(spec)
        trigger, next_due = str(plan.trigger), plan.trigger.next_after(max(now, spec.since or now))
        error = stored.last_error
    except ScheduleError as unusable:  # its zone, say, is not known on this machine
        trigger, next_due, error = "unusable", None, str(unusable)
    return ScheduleInfo(
        id=spec.id,
        pipeline=spec.pipeline,
        trigger=trigger,
        timezone=spec.timezone or "UTC",
        active=not spec.paused and next_due is not None,
        paused=spec.paused,
        origin=spec.origin,
        next_due=None if spec.paused else next_due,
        last_fired=stored.last_fired,
        last_error=error,
        spec=spec,
    )


def zone_of(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise ScheduleError("`", "timezone", name, "it must be an IANA time zone such as 'Europe/Berlin'.") from None


def _explained(  # noqa: PLR0917 (all of them are told)
    explain: Explain, trigger: Trigger, zone: ZoneInfo, now: datetime, info: ScheduleInfo | None, notes: list[str]
) -> Explained:
    start = _start(explain, zone, now)
    due_times = list(islice(trigger.due_times(start), explain.count))
    if not due_times:
        notes = [*notes, f"never due after {start.isoformat(timespec='seconds')}"]
    fires = [Fire(utc=due, local=due.astimezone(zone), notes=trigger.notes(due)) for due in due_times]
    return Explained(trigger=str(trigger), timezone=zone.key, fires=fires, notes=notes, schedule=info)


def _start(explain: Explain, zone: ZoneInfo, now: datetime) -> datetime:
    if explain.start is None:
        return now
    try:
        return moment_of(explain.start, zone)
    except TriggerError as error:
        raise ScheduleError("`", "from", explain.start, str(error)) from None
