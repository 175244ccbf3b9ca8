"""The named queue settings of a project: `job_queue.profiles`."""

from fpbus.schemas import ProfileConfig, ProjectConfig

from .errors import ProjectError, guess


def queue_profile(project: ProjectConfig, name: str) -> ProfileConfig:
    """Return a profile by its name; raise `ProjectError` for a name that is not there."""
    profiles = project.job_queue.profiles
    if name not in profiles:
        raise ProjectError(f"conf/project.yml: `job_queue.profiles` has no {name[:80]!r}.", guess(name, profiles))
    return profiles[name]
