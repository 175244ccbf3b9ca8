"""`fpbus job-queue show-jobs`, `cancel-job` and their like: runs that are queued, running, or ended not long ago."""

from itertools import product
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from fpbus.cli.options import FormatOption, PipelineOption, ProjectOption
from fpbus.cli.output import Columns, show_data, show_list, tell, write
from fpbus.cli.profiles import AnyProfileOption
from fpbus.cli.words import counted, moment

from .choosing import AllOption, QueueTypeOption, one_or_all, queues_of, sum_of

if TYPE_CHECKING:
    from fpbus.control import Control
    from fpbus.schemas import JobInfo

NOTHING_DONE: Final = 4

#: `finished` is RQ's word for succeeded. `open` is whatever has not ended.
StateName = Literal[
    "open", "all", "delayed", "queued", "paused", "started", "retrying", "finished", "succeeded", "failed",
    "cancelled", "dead",
]  # fmt: skip
_ENDED: Final = ("succeeded", "failed", "cancelled", "dead")

_JOBS: Final[Columns] = {
    "JOB": lambda job: job.run_id,
    "PIPELINE": lambda job: job.pipeline,
    "STATE": lambda job: f"{job.state} ({job.held})" if job.held else str(job.state),
    "QUEUE": lambda job: job.queue or "",
    "ATTEMPT": lambda job: str(job.attempt),
    "ACCEPTED": lambda job: moment(job.accepted_at),
    "DUE": lambda job: moment(job.due_at),
    "WORKER": lambda job: job.worker or "",
}

QueueOption = Annotated[
    str | None, typer.Option("--queue-name", "--queue-names", metavar="QUEUE", help="Only those of this queue.")
]
StateOption = Annotated[StateName, typer.Option("--state", help="Only those in this state; open: not ended.")]
LimitOption = Annotated[int, typer.Option(min=1, max=100_000, help="How many at most.")]
JobArgument = Annotated[str | None, typer.Argument(metavar="JOB", help="The id of a job.")]


def show_jobs(  # noqa: PLR0917 (Typer makes options of them)
    state: StateOption = "open",
    queue: QueueOption = None,
    pipeline: PipelineOption = None,
    limit: LimitOption = 100,
    style: FormatOption = "table",
    _type: QueueTypeOption = "rq",
    profile: AnyProfileOption = None,
    project: ProjectOption = None,
) -> None:
    """List jobs, oldest first.

    Those that have ended stay for some minutes; `fpbus runs list` has all that ever were.
    """
    with queues_of(project, profile, queue) as (control, queues):
        show_list(_jobs(control, state, queues, pipeline, limit), _JOBS, style, "No jobs.")


def show_job_ids(  # noqa: PLR0917 (Typer makes options of them)
    state: StateOption = "open",
    queue: QueueOption = None,
    pipeline: PipelineOption = None,
    limit: LimitOption = 100_000,
    _type: QueueTypeOption = "rq",
    profile: AnyProfileOption = None,
    project: ProjectOption = None,
) -> None:
    """Print the ids of jobs, one on a line."""
    with queues_of(project, profile, queue) as (control, queues):
        for job in _jobs(control, state, queues, pipeline, limit):
            write(job.run_id)


def cancel_job(  # noqa: PLR0917 (Typer makes options of them)
    job: JobArgument = None,
    every: AllOption = False,
    queue: QueueOption = None,
    pipeline: PipelineOption = None,
    style: FormatOption = "table",
    _type: QueueTypeOption = "rq",
    profile: AnyProfileOption = None,
    project: ProjectOption = None,
) -> None:
    """Cancel a job that waits, or stop one that is running; or all of them.

    Exit codes: 3 it has ended, 4 there was nothing to cancel.
    """
    one_or_all(job, every=every, narrowed=queue is not None or pipeline is not None)
    with queues_of(project, profile, queue) as (control, queues):
        if job is not None:
            from fpbus.cli.runs import cancel_one

            cancel_one(control, job, style)
            return
        done = sum_of([control.cancel_all(queue=each, pipeline=pipeline) for each in queues])
    if style != "table":
        show_data(done, style)
    else:
        stopping = f"; {counted(done.cancelling, 'is', 'are')} being stopped" if done.cancelling else ""
        tell(f"Cancelled {counted(done.cancelled, 'job', 'jobs')}{stopping}.")
    if not done.cancelled + done.cancelling:
        raise typer.Exit(NOTHING_DONE)


def delete_job(  # noqa: PLR0917 (Typer makes options of them)
    job: JobArgument = None,
    every: AllOption = False,
    queue: QueueOption = None,
    pipeline: PipelineOption = None,
    style: FormatOption = "table",
    _type: QueueTypeOption = "rq",
    profile: AnyProfileOption = None,
    project: ProjectOption = None,
) -> None:
    """Delete a job and its data; one that has not ended is cancelled first. Or all of them.

    Its record stays in `fpbus runs list`. Exit code 4 when there was nothing to delete.
    """
    one_or_all(job, every=every, narrowed=queue is not None or pipeline is not None)
    with queues_of(project, profile, queue) as (control, queues):
        many = (control.delete_all(queue=each, pipeline=pipeline) for each in queues)
        done = control.delete(job) if job is not None else sum_of(list(many))
    if style != "table":
        show_data(done, style)
    else:
        first = f", {done.cancelled} of them cancelled first" if done.cancelled else ""
        later = f"; {counted(done.cancelling, 'goes', 'go')} when stopped" if done.cancelling else ""
        gone = f" The data of {job} is gone already." if job and not done.deleted + done.cancelling else ""
        tell(f"Deleted {counted(done.deleted, 'job', 'jobs')}{first}{later}.{gone}")
    if not done.deleted + done.cancelling:
        raise typer.Exit(NOTHING_DONE)


def _jobs(
    control: "Control", state: StateName, queues: list[str | None], pipeline: str | None, most: int
) -> "list[JobInfo]":
    """Ask for each state in turn, queue by queue; a question without a state is for what has not ended."""
    import msgspec

    from fpbus.schemas import ListJobs

    chosen: dict[str, list[str | None]] = {"open": [None], "all": [None, *_ENDED], "finished": ["succeeded"]}
    found: dict[str, JobInfo] = {}  # one may end between two questions
    for each, queue in product(chosen.get(state, [state]), queues):
        wanted = msgspec.convert({"queue": queue, "state": each, "pipeline": pipeline}, ListJobs)
        if len(found) < most:
            found |= {job.run_id: job for job in control.jobs(wanted, most - len(found))}
    return list(found.values())
