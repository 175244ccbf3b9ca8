"""Steering what is queued and what runs: look, cancel, delete, retry, pause. The typed calls behind `Control`."""

from collections.abc import Iterator
from typing import Any, Final, Protocol, TypeVar

import msgspec

from fpbus.schemas import (
    CancelledJobs,
    ChooseJobs,
    DeletedJobs,
    JobInfo,
    JobPage,
    JobState,
    ListJobs,
    NamePipeline,
    PipelineSwitched,
    Role,
    ShowJob,
)

T = TypeVar("T")

PAGE: Final = 1000


class Ask(Protocol):
    """Asks one question of one service, and returns the typed answer."""

    def __call__(self, service: str, verb: str, arguments: msgspec.Struct | None, kind: type[T]) -> T: ...


def job_page(ask: Ask, wanted: ListJobs) -> JobPage:
    return ask(Role.DISPATCHER, "list_jobs", wanted, JobPage)


def jobs(ask: Ask, wanted: ListJobs, most: int) -> Iterator[JobInfo]:
    """Yield up to `most` runs, however many pages that takes."""
    left, offset = most, wanted.offset
    while left > 0:
        page = job_page(ask, msgspec.structs.replace(wanted, limit=min(left, PAGE), offset=offset))
        yield from page.jobs
        left -= len(page.jobs)
        if page.next_offset is None:
            return
        offset = page.next_offset


def show(ask: Ask, run_id: str) -> JobInfo:
    return ask(Role.DISPATCHER, "show_job", ShowJob(run_id=run_id), JobInfo)


def cancel(ask: Ask, chosen: ChooseJobs) -> CancelledJobs:
    """Cancel step by step until nothing is left, and return the sums."""
    steps = list(_steps(ask, "cancel", chosen, CancelledJobs))
    return CancelledJobs(
        cancelled=sum(step.cancelled for step in steps), cancelling=sum(step.cancelling for step in steps)
    )


def delete(ask: Ask, chosen: ChooseJobs) -> DeletedJobs:
    """Delete step by step until nothing is left, and return the sums."""
    steps = list(_steps(ask, "delete", chosen, DeletedJobs))
    return DeletedJobs(
        deleted=sum(step.deleted for step in steps),
        cancelled=sum(step.cancelled for step in steps),
        cancelling=sum(step.cancelling for step in steps),
    )


def _steps(ask: Ask, verb: str, chosen: ChooseJobs, kind: type[T]) -> Iterator[T]:
    while True:
        step: Any = ask(Role.DISPATCHER, verb, chosen, kind)
        yield step
        if step.cursor is None:
            return
        chosen = msgspec.structs.replace(chosen, cursor=step.cursor)


def choice(queue: str | None, pipeline: str | None, state: JobState | None) -> ChooseJobs:
    """Choose all that fit; without any filter all there are."""
    every = queue is None and pipeline is None and state is None
    return ChooseJobs(queue=queue, pipeline=pipeline, state=state, every=every)


def pause(ask: Ask, pipeline: str) -> PipelineSwitched:
    return ask(Role.DISPATCHER, "pause_pipeline", NamePipeline(pipeline=pipeline), PipelineSwitched)


def resume(ask: Ask, pipeline: str) -> PipelineSwitched:
    return ask(Role.DISPATCHER, "resume_pipeline", NamePipeline(pipeline=pipeline), PipelineSwitched)
