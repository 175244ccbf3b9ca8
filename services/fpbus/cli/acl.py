"""`fpbus acl`: accounts on the broker and on Redis."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import ProjectOption
from .output import tell, write
from .settings import settings_of

if TYPE_CHECKING:
    from fpbus.schemas import TriggerConfig


def acl(  # noqa: PLR0917 (Typer makes options of them)
    device: Annotated[list[str] | None, typer.Option(metavar="NAME", help="A device, any number of times.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where the files go.")] = Path("access"),
    root: Annotated[
        str | None, typer.Option(metavar="PREFIX", help="The prefix of all topics.  [default: as the project says]")
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="For services and operators.")] = 8883,
    device_port: Annotated[int, typer.Option(min=1, max=65535, help="For devices.")] = 8884,
    project: ProjectOption = None,
) -> None:
    """Write accounts for broker and Redis. In a project the services may hear what its triggers name.

    There is one for each service, one for operators, and one for each device. Passwords are in DIR/secrets. A second
    time adds devices; a password that is there stays. Remove its file to have a new one made, or a device's to have it
    forgotten.
    """
    from fpbus.supervisor.accounts import write_accounts

    folder = output.absolute()
    prefix = settings_of(project).root if root is None else root
    for path in write_accounts(folder, device or [], prefix, port, device_port, _triggers(project)):
        write(str(path))
    tell(f"Put the broker's certificate and key into {folder}: server.crt and server.key.")
    tell(f"Then: mosquitto -c {folder / 'mosquitto.conf'}")
    tell(f"And:  redis-server --aclfile {folder / 'redis.acl'}")


def _triggers(project: str | None) -> "list[TriggerConfig]":
    """Return the triggers of all pipelines; none where there is no project."""
    from fpbus.project import ProjectError, find_project, load_pipelines

    try:
        folder = find_project(settings_of(project).project_dir)
    except ProjectError:
        return []
    return [trigger for pipeline in load_pipelines(folder).values() for trigger in pipeline.triggers]
