"""`--name`: an entry of `job_queue.profiles`.

One with a Redis of its own is a bus of its own: below the root `profiles/NAME`, with its own services, history and
schedules. One without is some queues of the project's bus.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fpbus.lifecycle import Settings
    from fpbus.schemas import ProfileConfig

ProfileOption = Annotated[
    str | None, typer.Option("--name", metavar="PROFILE", help="One of job_queue.profiles, with a Redis of its own.")
]
AnyProfileOption = Annotated[
    str | None, typer.Option("--name", metavar="PROFILE", help="One of job_queue.profiles: its Redis, or its queues.")
]


def has_redis(profile: "ProfileConfig") -> bool:
    return profile.redis_url is not None


def find_profile(settings: "Settings", name: str) -> "ProfileConfig":
    """Return a profile of the project; raise `ProjectError` for a name that is not there."""
    from fpbus.project import find_project, load_project, queue_profile

    return queue_profile(load_project(find_project(settings.project_dir)), name)


def is_profile(settings: "Settings", name: str) -> bool:
    """Tell whether the project has a profile of that name, if there is a project at all."""
    from fpbus.project import ProjectError, find_project, load_project

    try:
        folder = find_project(settings.project_dir)
    except ProjectError:
        return False
    return name in load_project(folder).job_queue.profiles


def settings_below(settings: "Settings", name: str) -> "Settings":
    """Return the settings of the bus that a profile is; raise `ProjectError` for one that is only queues of this."""
    from fpbus.lifecycle.settings import CREDENTIALS

    profile = find_profile(settings, name)
    _check(settings, name, profile)
    folder = settings.project_dir
    own = folder / ".fpbus" / "profiles" / name
    nothing: dict[str, Any] = {each: None for each in CREDENTIALS if each.startswith("redis_")}
    storage = settings.storage_url or f"file://{folder}/.fpbus/storage"
    return replace(
        settings,
        redis_url=profile.redis_url,
        **nothing,  # the login of the other Redis is not for this one
        root=f"{settings.root.strip('/')}/profiles/{name}".lstrip("/"),
        history_url=profile.history_url or f"sqlite:///{own}/history.db",
        schedules_url=profile.schedules_url or f"sqlite:///{own}/schedules.db",
        storage_url=f"{storage.rstrip('/')}/.profiles/{name}",  # no pipeline's name begins with a dot
    )


def _check(settings: "Settings", name: str, profile: "ProfileConfig") -> None:
    from fpbus.project import ProjectError

    if not has_redis(profile):
        queues = ", ".join(profile.served or ()) if not isinstance(profile.served, str) else profile.served
        raise ProjectError(
            f"The profile {name!r} has no Redis of its own; it is {f'the queues {queues}' if queues else 'all queues'} "
            "of the project's bus.",
            "Leave --name out. In which queue a run waits, its pipeline says: `run.queue`.",
        )
    if profile.redis_url == settings.redis_url:
        raise ProjectError(
            f"conf/project.yml: `job_queue.profiles.{name}` names the Redis of the project itself.",
            "Say no Redis there, and it is queues of this one; or say another `backend.database`.",
        )
