"""`fpbus ps` and `fpbus health`: what is there, and is it well."""

from typing import TYPE_CHECKING, Annotated, get_args

import typer

from .connecting import connected
from .options import FormatOption, ProjectOption, RoleName
from .output import Columns, show_data, show_list, tell, write
from .profiles import ProfileOption
from .words import moment

if TYPE_CHECKING:
    from fpbus.control import Control
    from fpbus.schemas import QueueDepth, ServiceStatus

UNHEALTHY = 5

_SERVICES: Columns = {
    "ROLE": lambda status: status.role,
    "INSTANCE": lambda status: status.instance,
    "STATE": lambda status: status.state if status.active or not status.online else f"{status.state}, standby",
    "PID": lambda status: str(status.pid),
    "SINCE": lambda status: moment(status.since),
    "VERSION": lambda status: status.version,
    "REASON": lambda status: status.reason or "",
}

WORKERS: Columns = {
    "WORKER": lambda worker: worker.name,
    "STATE": lambda worker: worker.state,
    "QUEUES": lambda worker: ",".join(worker.queues),
    "RUN": lambda worker: worker.run_id or "",
    "PIPELINE": lambda worker: worker.pipeline or "",
    "SINCE": lambda worker: moment(worker.since),
    "RUNS": lambda worker: str(worker.runs),
    "PID": lambda worker: str(worker.pid),
}

_QUEUES: Columns = {
    "QUEUE": lambda queue: queue.name,
    "QUEUED": lambda queue: str(queue.queued),
    "DELAYED": lambda queue: str(queue.delayed),
    "WORKERS": lambda queue: str(queue.workers),
}

_HEALTH: Columns = {
    "ROLE": lambda role: role["role"],
    "HEALTHY": lambda role: "yes" if role["healthy"] else "no",
    "INSTANCES": lambda role: ", ".join(f"{one['instance']} ({one['state']})" for one in role["instances"]),
}


def ps(style: FormatOption = "table", profile: ProfileOption = None, project: ProjectOption = None) -> None:
    """Show the services, the workers and the queues of the bus."""
    with connected(project, profile) as control:
        services, workers = control.services(), control.workers()
        queues = _queues(control, services)
    if style != "table":
        show_data({"services": services, "workers": workers, "queues": queues}, style)
        return
    show_list(services, _SERVICES, style, "No service was ever seen on this bus.")
    for items, columns in ((workers, WORKERS), (queues, _QUEUES)):
        if items:
            write("")
            show_list(items, columns, style, "")
    for queue in queues:
        if queue.queued and not queue.workers:
            tell(f"No worker serves the queue {queue.name!r}, where {queue.queued} runs wait.")
            other = f" --name {profile}" if profile else ""
            tell(f"Start one: fpbus job-queue start-worker{other} --queue-names {queue.name}")


def _queues(control: "Control", services: "list[ServiceStatus]") -> "list[QueueDepth]":
    """Return the queues; none when there is no dispatcher to ask."""
    if not any(one.role == "dispatcher" and one.online and one.active for one in services):
        return []
    return control.queues().queues


def health(
    role: Annotated[RoleName | None, typer.Argument(metavar="ROLE", help="Only this service.")] = None,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    style: FormatOption = "table",
    profile: ProfileOption = None,
    project: ProjectOption = None,
) -> None:
    """Tell whether the services are ready.

    The exit code is 0 when they are, and 5 when one is not.
    """
    roles = [role] if role else list(get_args(RoleName))
    with connected(project, profile) as control:
        statuses = control.services()
    report = [_health_of(name, statuses) for name in roles]
    unwell = [str(one["role"]) for one in report if not one["healthy"]]
    if json or style != "table":
        show_data({"healthy": not unwell, "services": report}, "json" if json else style)
    else:
        show_list(report, _HEALTH, style, "")
    if unwell:
        tell(f"Not ready: {', '.join(unwell)}.")
        raise typer.Exit(UNHEALTHY)


def _health_of(role: str, statuses: "list[ServiceStatus]") -> dict[str, object]:
    """One instance that is ready and active is enough; a standby alone does no work."""
    ours = [status for status in statuses if status.role == role]
    return {
        "role": role,
        "healthy": any(status.online and status.active and status.state == "ready" for status in ours),
        "instances": [{"instance": one.instance, "state": one.state, "active": one.active} for one in ours],
    }
