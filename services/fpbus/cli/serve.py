"""`fpbus serve`: one service in this process."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .inputs import read_executor
from .options import JobExecutorOption, ProjectOption, QueueNamesOption, RoleName
from .profiles import AnyProfileOption, find_profile, has_redis, settings_below
from .settings import settings_of

if TYPE_CHECKING:
    from fpbus.lifecycle import Settings

log = logging.getLogger(__name__)


def serve(  # noqa: PLR0917 (Typer makes options of them)
    role: Annotated[RoleName, typer.Argument(metavar="ROLE", help="dispatcher, runner, recorder or scheduler.")],
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="A project's folder, or its conf/project.yml.")
    ] = None,
    instance: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name among its like.  [default: this host]")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=1024, help="Runner: how many runs at a time.")] = None,
    queue_names: QueueNamesOption = None,
    job_executor: JobExecutorOption = None,
    interval: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0.1, help="Scheduler: how often it reads its store again.")
    ] = None,
    schedule: Annotated[
        bool, typer.Option("--schedule", help="Scheduler: activate the schedules of the project.")
    ] = False,
    profile: AnyProfileOption = None,
    project: ProjectOption = None,
) -> None:
    """Run one service until SIGTERM or Ctrl-C. Prints a line `ready` when it works.

    With --name it serves the bus of a profile that has a Redis of its own; a runner serves also one that is queues.
    """
    from fpbus.lifecycle import configure_logs

    for option, given, owner, what in (
        ("--workers", workers, "runner", "workers"),
        ("--queue-names", queue_names, "runner", "queues to serve"),
        ("--job-executor", job_executor, "runner", "an executor"),
        ("--interval", interval, "scheduler", "schedules"),
        ("--schedule", schedule or None, "scheduler", "schedules"),
    ):
        if given is not None and role != owner:
            raise typer.BadParameter(f"only the {owner} has {what}.", param_hint=option)
    settings = settings_of(_folder_of(config) if config else project, instance=instance)
    configure_logs(settings.log_level, settings.log_format)
    serve_here(
        role,
        settings,
        profile,
        workers=workers,
        queue_names=queue_names,
        job_executor=job_executor,
        interval=interval,
        schedule=schedule,
    )


def serve_here(
    role: RoleName,
    settings: "Settings",
    profile: str | None = None,
    *,
    workers: int | None = None,
    queue_names: str | None = None,
    job_executor: str | None = None,
    interval: float | None = None,
    schedule: bool = False,
) -> None:
    """Import one service only: each has an engine of its own that takes time and memory."""
    if profile is not None and (role != "runner" or has_redis(find_profile(settings, profile))):
        settings = settings_below(settings, profile)
    from fpbus.lifecycle import loose_files

    for warning in loose_files(settings):
        log.warning(warning)
    if role == "dispatcher":
        from fpbus.dispatcher import serve as serve_dispatcher

        serve_dispatcher(settings)
    elif role == "runner":
        from fpbus.runner import serve as serve_runner

        serve_runner(settings, workers, queue_names, profile, read_executor(job_executor))
    elif role == "recorder":
        from fpbus.recorder import serve as serve_recorder

        serve_recorder(settings)
    else:
        from fpbus.scheduler import LOOK_S
        from fpbus.scheduler import serve as serve_scheduler

        serve_scheduler(settings, activate=schedule, interval_s=interval or LOOK_S)


def _folder_of(config: Path) -> str:
    if config.is_dir():
        return str(config)
    if config.name == "project.yml" and config.parent.name == "conf":
        return str(config.absolute().parent.parent)
    raise typer.BadParameter(f"{config} is neither a project's folder nor a conf/project.yml.", param_hint="--config")
