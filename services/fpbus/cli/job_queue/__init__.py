"""`fpbus job-queue`: what is queued and what is scheduled, under FlowerPower's names."""

import typer

from fpbus.cli.group import Commands
from fpbus.cli.steering import retry

from .jobs import cancel_job, delete_job, show_job_ids, show_jobs
from .schedules import (
    delete_schedule,
    pause_schedule,
    resume_schedule,
    show_schedule_ids,
    show_schedules,
)
from .workers import scale, show_workers, start_scheduler, start_worker, stop_scheduler, stop_worker

job_queue = typer.Typer(cls=Commands, no_args_is_help=True, help="Look at and steer what is queued and scheduled.")
for _command in (
    *(start_worker, stop_worker, show_workers, scale, start_scheduler, stop_scheduler),
    *(show_jobs, show_job_ids, cancel_job, delete_job),
    *(show_schedules, show_schedule_ids, pause_schedule, resume_schedule, delete_schedule),
):
    job_queue.command()(_command)
job_queue.command("cancel-schedule")(delete_schedule)  # what is cancelled is gone, too
job_queue.command("run-job")(retry)
