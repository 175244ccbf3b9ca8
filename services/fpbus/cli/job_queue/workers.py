"""`fpbus job-queue start-worker`, `start-scheduler` and their ends: services of this machine, in front or behind."""

import sys
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fpbus.cli.connecting import client_settings, connected
from fpbus.cli.inputs import read_executor
from fpbus.cli.options import (
    FormatOption,
    JobExecutorOption,
    LogLevelOption,
    ProjectOption,
    QueueNamesOption,
    RoleName,
)
from fpbus.cli.output import show_data, show_list, tell
from fpbus.cli.profiles import AnyProfileOption, ProfileOption, find_profile, has_redis, is_profile
from fpbus.cli.serve import serve_here
from fpbus.cli.services import WORKERS

from .choosing import QueueTypeOption, queues_of

if TYPE_CHECKING:
    from fpbus.lifecycle import Settings

NOTHING_DONE: Final = 4

BackgroundOption = Annotated[bool, typer.Option("--background", "-b", help="Leave it running behind.")]
WorkerName = Annotated[
    str, typer.Option("--name", metavar="NAME", help="Its name; one of job_queue.profiles: for its Redis and queues.")
]
SchedulerName = Annotated[
    str, typer.Option("--name", metavar="NAME", help="Its name; one of job_queue.profiles: for its bus.")
]


def start_worker(  # noqa: PLR0917 (Typer makes options of them)
    workers: Annotated[int | None, typer.Option("--num-workers", "-n", min=1, help="How many runs at a time.")] = None,
    queues: QueueNamesOption = None,
    job_executor: JobExecutorOption = None,
    background: BackgroundOption = False,
    name: WorkerName = "worker",
    _type: QueueTypeOption = "rq",
    _level: LogLevelOption = None,
    project: ProjectOption = None,
) -> None:
    """Start a runner, beside any that there are.

    With --background it goes on behind, and this command ends when it is ready; `stop-worker` ends it.
    """
    settings = client_settings(project)
    profile = name if is_profile(settings, name) else None
    read_executor(job_executor)  # what cannot be read is told before anything starts
    options = {"workers": workers, "queue_names": queues, "job_executor": job_executor}
    _start("runner", name, settings, profile, background=background, **options)


def stop_worker(
    name: WorkerName = "worker",
    every: Annotated[bool, typer.Option("--all", "-a", help="All that were started in the background.")] = False,
    project: ProjectOption = None,
) -> None:
    """End what `start-worker --background` has started. It finishes the runs in hand, or hands them back.

    Exit code 4 when there is none.
    """
    _stop("runner", None if every else name, project)


def start_scheduler(
    interval: Annotated[
        float | None,
        typer.Option("--interval", "-i", metavar="SECONDS", min=0.1, help="How often the store is read again."),
    ] = None,
    background: BackgroundOption = False,
    name: SchedulerName = "scheduler",
    _type: QueueTypeOption = "rq",
    _level: LogLevelOption = None,
    project: ProjectOption = None,
) -> None:
    """Start a scheduler, beside any that there are: each due time is one run all the same.

    No run waits for the interval: it is how late a change that another scheduler stored may be seen.
    """
    settings = client_settings(project)
    own = is_profile(settings, name) and has_redis(find_profile(settings, name))
    _start("scheduler", name, settings, name if own else None, background=background, interval=interval)


def stop_scheduler(
    name: SchedulerName = "scheduler",
    every: Annotated[bool, typer.Option("--all", "-a", help="All that were started in the background.")] = False,
    project: ProjectOption = None,
) -> None:
    """End what `start-scheduler --background` has started. Exit code 4 when there is none."""
    _stop("scheduler", None if every else name, project)


def show_workers(
    style: FormatOption = "table",
    profile: AnyProfileOption = None,
    _type: QueueTypeOption = "rq",
    project: ProjectOption = None,
) -> None:
    """List the workers of all runners, and what each does now."""
    from fpbus.schemas.lanes import lanes_of

    with queues_of(project, profile) as (control, queues):
        lanes = {lane for queue in queues if queue for lane in lanes_of(queue)}
        found = [worker for worker in control.workers() if not lanes or lanes & set(worker.queues)]
        show_list(found, WORKERS, style, "No workers.")


def scale(
    number: Annotated[int, typer.Argument(metavar="N", min=1, max=1024, help="How many workers it is to have.")],
    instance: Annotated[
        str | None, typer.Option("--instance", metavar="RUNNER", help="Which runner, where there are several.")
    ] = None,
    style: FormatOption = "table",
    profile: ProfileOption = None,
    _type: QueueTypeOption = "rq",
    project: ProjectOption = None,
) -> None:
    """Change how many workers a running runner has, until it ends. Exit code 4 when there is none."""
    with connected(project, profile) as control:
        runners = sorted(one.instance for one in control.services() if one.role == "runner" and one.online)
        done = control.set_workers(_chosen(instance, runners), number)
    if style != "table":
        show_data(done, style)
    else:
        leaving = " Those who leave finish the run in hand first." if done.workers < done.before else ""
        tell(f"The runner {done.instance} has {done.workers} workers now; it had {done.before}.{leaving}")


def _chosen(instance: str | None, runners: list[str]) -> str:
    from fpbus.control import NotFoundError

    if instance in runners or (instance is None and len(runners) == 1):
        return instance or runners[0]
    there = f"There are: {', '.join(runners)}." if runners else "Start one: fpbus job-queue start-worker"
    if instance is None and runners:
        raise typer.BadParameter(f"say which runner. {there}", param_hint="--instance")
    raise NotFoundError(f"No runner {instance!r} is online." if instance else "No runner is online.", there)


def _start(
    role: RoleName, name: str, settings: "Settings", profile: str | None, *, background: bool, **options: Any
) -> None:
    """Run a service here, or have a process of its own run it."""
    settings = replace(settings, instance=f"{settings.instance}-{name}")
    if not background:
        from fpbus.lifecycle import configure_logs

        configure_logs(settings.log_level, settings.log_format)
        serve_here(role, settings, profile, **options)
        return
    from fpbus.supervisor.daemons import start_daemon

    options = {"name": profile, **options}
    given = [(f"--{option.replace('_', '-')}", str(value)) for option, value in options.items() if value is not None]
    command = [sys.executable, "-m", "fpbus", "serve", role, *chain.from_iterable(given)]
    daemon = start_daemon(settings.project_dir, f"{role}-{name}", command, settings.environment())
    tell(f"{daemon.name} is ready: process {daemon.process.pid}, log {daemon.log}.")


def _stop(role: str, name: str | None, project: str | None) -> None:
    from fpbus.lifecycle import GRACE_S
    from fpbus.project import load_project
    from fpbus.supervisor.daemons import daemons, stop_daemon

    folder = client_settings(project).project_dir
    of_role = [one.name for one in daemons(folder) if one.name.startswith(f"{role}-")]
    wanted = of_role if name is None else [f"{role}-{name}"]
    grace_s = load_project(folder).runner.grace_s if of_role and role == "runner" else GRACE_S
    stopped = [daemon for each in wanted if (daemon := stop_daemon(folder, each, grace_s)) is not None]
    for daemon in stopped:
        tell(f"{daemon.name} has ended (process {daemon.process.pid}).")
    if not stopped:
        tell(f"No {role} {'of that name ' if name else ''}runs in the background.")
        raise typer.Exit(NOTHING_DONE)
