"""The runner: takes jobs from RQ's Redis and runs their pipelines in warm work-horses.

This file imports little, because the fork server imports it before every horse.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fpbus.lifecycle import Settings


def serve(
    settings: "Settings",
    workers: int | None = None,
    queues: str | None = None,
    profile: str | None = None,
    executor: dict[str, Any] | None = None,
) -> None:
    """Run a runner until it is told to stop: so many workers, for the queues that are named, with commas.

    An executor is for all runs that do not ask for one themselves.

    What is None says the profile, one of `job_queue.profiles`, then the project. Raises `FpbusError` when it cannot
    start, or was taken over.
    """
    from functools import partial

    from fpbus.project import load_project, queue_profile, stamp

    from .stable import Stable

    folder = settings.project_dir
    project = load_project(folder)
    chosen = queue_profile(project, profile) if profile else project.job_queue
    # First of all: its fork server takes longest to stand ready.
    stable = Stable(str(folder), settings.storage_url or f"file://{folder}/.fpbus/storage", executor)

    import msgspec

    from fpbus.bus import open_bus
    from fpbus.lifecycle import ServicePresence, Stop, broker_of, redis_of, run_service
    from fpbus.schemas import Role
    from fpbus.schemas.lanes import read_lanes

    from .queue import WorkQueue
    from .service import RunnerService

    workers = workers or chosen.num_workers or project.runner.workers
    config = msgspec.structs.replace(project.runner, workers=workers)
    lanes = read_lanes(queues or chosen.served or project.runner.queues or None)
    stop = Stop()
    presence = ServicePresence(Role.RUNNER, settings.instance)
    bus = open_bus(broker_of(settings), f"fpbus-runner-{settings.instance}", root=settings.root, presence=presence)
    presence.attach(bus)
    bus.on_taken_over(stop.request)
    redis = redis_of(settings)
    queue = WorkQueue(redis.url, lanes, config.lease_s, redis.options, allow_volatile=settings.volatile_allowed)
    look = partial(stamp, folder, project.hooks_dir)
    service = RunnerService(bus, queue, stable, config, folder, look, settings.instance, presence, stop)
    run_service(service, presence, stop, Role.RUNNER, settings.instance, config.grace_s)


def execute(job: dict[str, Any]) -> dict[str, Any]:
    """Run a job in this process and return its outputs: what the one function name in our jobs means to RQ.

    A stock RQ worker can run our jobs with it. It does no bookkeeping of ours: no lease, no attempt, no result.
    """
    import os

    from fpbus.pipelines import Project

    request = job["request"]
    project = Project.load(os.environ.get("FPBUS_PROJECT", "."))
    return project.run(job["pipeline"], request.get("inputs"), request.get("final_vars"), request.get("config"))
