"""Decisions of the scheduler: which run a slot is, what is still fired after a pause, how files and store agree."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from itertools import islice, takewhile
from typing import Final

import msgspec

from fpbus.schemas import OVERRIDES, Reconciled, RunRequest, ScheduleSpec, encode, run_id_prefix

from .planning import PlannedSchedule, same, timed
from .triggers import Trigger

#: Slots that are not older have not been missed: a thread may be late.
ON_TIME: Final = timedelta(seconds=2)

_PATIENCE_AT_LEAST: Final = timedelta(minutes=5)
_COUNT_AT_MOST: Final = 1000


@dataclass(frozen=True, slots=True)
class Slot:
    """One due time of one schedule, as the run request that it becomes.

    `patience` is how long it is sent again when nobody accepts it: until the next slot, five minutes at least.
    `digest` is what a rejection of it would name. `by_call`: it sets what a message may not, so that it goes
    to the dispatcher as a call.
    """

    schedule_id: str
    due: datetime
    run_id: str
    pipeline: str
    request: RunRequest
    digest: str
    patience: timedelta
    by_call: bool


@dataclass(frozen=True, slots=True)
class Waking:
    """What a schedule has to do now. `skipped` ends at 1,000: a machine may wake after years."""

    fire: list[datetime]
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What makes the store agree with the files."""

    put: list[ScheduleSpec]
    remove: list[str]
    report: Reconciled


def run_id_of(schedule_id: str, due: datetime) -> str:
    """Return the id of a slot's run, like `daily_sales-20260329T010000Z-cbbb089c826c`.

    It depends on nothing else: whichever scheduler fires the slot, and however often, it is the same run.
    """
    moment = due.astimezone(UTC)
    digest = blake2b(f"{schedule_id}\n{moment.isoformat()}".encode(), digest_size=6).hexdigest()
    return f"{run_id_prefix(schedule_id)}{moment:%Y%m%dT%H%M%SZ}-{digest}"


def slot_of(schedule: PlannedSchedule, due: datetime, dedup_window: timedelta) -> Slot:
    """Make the request of one slot. A request that is repeated after `dedup_window` would be a second run."""
    spec = schedule.spec
    settings = {name: value for name, value in msgspec.structs.asdict(spec.settings).items() if value is not None}
    request = RunRequest(
        run_id=run_id_of(spec.id, due),
        priority=spec.priority,
        key=spec.key,
        not_before=_not_before(spec, due),
        **settings,
    )
    following = schedule.trigger.next_after(due) or due
    return Slot(
        schedule_id=spec.id,
        due=due,
        run_id=request.run_id or "",
        pipeline=spec.pipeline,
        request=request,
        digest=blake2b(encode(request), digest_size=16).hexdigest(),
        patience=min(max(_PATIENCE_AT_LEAST, following - due), dedup_window),
        by_call=any(name in settings for name in OVERRIDES),
    )


def on_waking(schedule: PlannedSchedule, after: datetime, now: datetime) -> Waking:
    """Decide about the slots later than `after` that are due by now.

    When the oldest of them is on time, all fire. Otherwise nobody was there to fire them, and the schedule's own
    policy says which of them are made up for.
    """
    spec, trigger = schedule.spec, schedule.trigger
    first = trigger.next_after(after)
    if first is None or first > now:
        return Waking([])
    if now - first <= ON_TIME:
        return Waking(_between(trigger, after, now))
    if spec.misfire == "none":
        fire = _between(trigger, max(after, now - ON_TIME), now)
    else:
        oldest = after if spec.grace_s is None else max(after, now - timedelta(seconds=spec.grace_s))
        fire = latest(trigger, oldest, now, 1 if spec.misfire == "last" else spec.catch_up)
    due = sum(
        1 for _ in islice(takewhile(lambda due: due <= now, trigger.due_times(after)), _COUNT_AT_MOST + len(fire))
    )
    return Waking(fire, due - len(fire))


def latest(trigger: Trigger, after: datetime, until: datetime, most: int) -> list[datetime]:
    """Return the last due times, `most` of them, of those later than `after` and not later than `until`.

    A trigger only looks forward. So it looks from a little before the end, then from a little earlier, ...
    """
    look = timedelta(seconds=most)
    while most > 0:
        begin = max(after, until - min(look, until - after))
        found = _between(trigger, begin, until)
        if len(found) >= most or begin == after:
            return found[-most:]
        look *= 4
    return []


def reconcile(
    wanted: Iterable[ScheduleSpec], stored: Mapping[str, ScheduleSpec], now: datetime, *, overwrite: bool
) -> Reconciliation:
    """Compare the files' schedules with those in the store. One that is paused stays so; what calls made stays."""
    report = Reconciled(added=[], changed=[], removed=[], unchanged=[], conflicts=[])
    put: list[ScheduleSpec] = []
    for spec in wanted:
        before = stored.get(spec.id)
        if before is not None and before.origin == "call" and not overwrite:
            report.conflicts.append(spec.id)
        elif before is not None and same(spec, before):
            report.unchanged.append(spec.id)
        else:
            (report.added if before is None else report.changed).append(spec.id)
            spec = msgspec.structs.replace(spec, paused=before is not None and before.paused)  # noqa: PLW2901
            put.append(timed(spec, before, now))
    known = {*report.conflicts, *report.unchanged, *report.added, *report.changed}
    report.removed.extend(name for name, spec in stored.items() if spec.origin == "yaml" and name not in known)
    return Reconciliation(put, report.removed, report)


def _between(trigger: Trigger, after: datetime, until: datetime) -> list[datetime]:
    return list(takewhile(lambda due: due <= until, trigger.due_times(after)))


def _not_before(spec: ScheduleSpec, due: datetime) -> datetime | None:
    """Spread the start of runs; derived, so that each scheduler asks for the same. The dispatcher does the waiting."""
    if not spec.jitter_s:
        return None
    drawn = int.from_bytes(blake2b(f"jitter\n{run_id_of(spec.id, due)}".encode(), digest_size=6).digest())
    return due + timedelta(milliseconds=round(spec.jitter_s * 1000 * drawn / 2**48))
