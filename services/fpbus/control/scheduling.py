"""Schedules: put, look, pause, explain. The typed calls behind `Control`."""

from collections.abc import Iterator

import msgspec

from fpbus.schemas import (
    ChangedSchedules,
    ChooseSchedules,
    Explain,
    Explained,
    ListSchedules,
    PutSchedule,
    Reconciled,
    Role,
    ScheduleAll,
    ScheduleInfo,
    Schedules,
    StoredSchedule,
)

from .steering import Ask


def put(ask: Ask, wanted: PutSchedule) -> StoredSchedule:
    return ask(Role.SCHEDULER, "put_schedule", wanted, StoredSchedule)


def activate_all(ask: Ask, wanted: ScheduleAll) -> Reconciled:
    return ask(Role.SCHEDULER, "schedule_all", wanted, Reconciled)


def listed(ask: Ask, wanted: ListSchedules) -> Iterator[ScheduleInfo]:
    """Yield all that fit, page by page, from `offset` on."""
    offset = wanted.offset
    while True:
        page = ask(Role.SCHEDULER, "list", msgspec.structs.replace(wanted, offset=offset), Schedules)
        yield from page.schedules
        offset += len(page.schedules)
        if not page.schedules or offset >= page.total:
            return


def change(ask: Ask, verb: str, schedule_id: str | None) -> ChangedSchedules:
    """Pause, resume or remove one schedule, or all without an id."""
    chosen = ChooseSchedules(id=schedule_id, every=schedule_id is None)
    return ask(Role.SCHEDULER, verb, chosen, ChangedSchedules)


def explain(ask: Ask, wanted: Explain) -> Explained:
    return ask(Role.SCHEDULER, "explain", wanted, Explained)
