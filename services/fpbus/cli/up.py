"""`fpbus up`: everything on this machine, on one screen."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import ProjectOption
from .profiles import settings_below
from .settings import settings_of

if TYPE_CHECKING:
    from fpbus.supervisor import AllReady, Event, ProcessReady, ProcessStarted


def up(
    workers: Annotated[int | None, typer.Option(min=1, help="How many runs at a time.")] = None,
    schedule: Annotated[bool, typer.Option("--schedule", help="Activate the schedules of the project.")] = False,
    names: Annotated[
        list[str] | None,
        typer.Option("--name", metavar="PROFILE", help="Also the services of this profile; may be repeated."),
    ] = None,
    project: ProjectOption = None,
) -> None:
    """Start everything on this machine.

    That is a broker, a Redis and the services of the project, until Ctrl-C stops them all. A broker or a Redis
    that FPBUS_MQTT_URL or FPBUS_REDIS_URL names is used instead of a new one. The Redis of a profile is never started.
    """
    from fpbus.project import find_project, load_pipelines, load_project
    from fpbus.supervisor import Supervisor

    settings = settings_of(project)
    folder = find_project(settings.project_dir)
    pipelines = load_pipelines(folder)  # a mistake in a file is told before anything is started
    idle = [name for name, pipeline in pipelines.items() if pipeline.schedule and not schedule]
    config = load_project(folder)
    screen = Screen(config.name, folder, example=next(iter(pipelines), "NAME"), idle_schedules=idle)
    settings = replace(settings, project=str(folder))
    for profile in names or []:
        settings_below(settings, profile)  # refuses here what its services would refuse
    Supervisor(
        settings,
        workers=workers,
        activate_schedules=schedule,
        profiles=names or (),
        runner_grace_s=config.runner.grace_s,
        tell=screen.hear,
    ).run()


class Screen:
    """What runs where, once everything does; then a line for whatever changes."""

    def __init__(self, name: str, folder: Path, *, example: str, idle_schedules: list[str]) -> None:
        self._folder = folder
        self._example = example
        self._idle_schedules = idle_schedules
        self._started: dict[str, ProcessStarted] = {}
        self._seconds: dict[str, float] = {}
        self._urls: dict[str, str] = {}
        self._complete = False
        _say(f"{name} in {folder}")

    def hear(self, event: "Event") -> None:
        """Take an event of the supervisor; raises `OSError` when the screen is gone."""
        from fpbus import supervisor

        match event:
            case supervisor.ServerChosen():
                self._urls[event.name] = event.url
                _say(f"  {event.name:<10} {event.program}, {event.url}\n  {'':<10} {event.promise}")
            case supervisor.ProcessStarted():
                self._started[event.name] = event
            case supervisor.ProcessReady():
                self._on_ready(event)
            case supervisor.ProcessDied():
                how = f"was killed by signal {-event.code}" if event.code < 0 else f"ended with code {event.code}"
                _log(f"{event.name} {how}; it starts again in {event.restart_in_s:.1f} s")
            case supervisor.AllReady():
                self._on_all_ready(event)
            case supervisor.Stopping():
                _log("stopping")
            case supervisor.ProcessStopped():
                _log(f"{event.name} stopped")

    def _on_ready(self, event: "ProcessReady") -> None:
        self._seconds[event.name] = event.seconds
        if self._complete:
            _log(f"{event.name} is ready again, pid {self._started[event.name].pid}")

    def _on_all_ready(self, event: "AllReady") -> None:
        self._complete = True
        width = max(10, *map(len, self._started))
        _say(f"\n  {'PROCESS':<{width}} {'PID':>7}  READY IN  WHAT")
        for name, process in self._started.items():
            _say(f"  {name:<{width}} {process.pid:>7}  {self._seconds[name]:>6.1f} s  {process.detail}".rstrip())
        _say("")
        for what, how in self._advice().items():
            _say(f"  {what:<10} {how}")
        _say(f"\nready in {event.seconds:.1f} s")

    def _advice(self) -> dict[str, str]:
        """Say what to do next."""
        from fpbus.schemas import topics

        advice = {
            "run": f"fpbus trigger {self._example} --wait",
            "from MQTT": f"publish {{}} to {topics.run(self._example)} on {self._urls['broker']}",
            "watch": "fpbus watch",
            "logs": str(self._folder / ".fpbus" / "logs"),
            "stop": "Ctrl-C",
        }
        if self._idle_schedules:
            idle = ", ".join(self._idle_schedules)
            advice["schedules"] = f"of {idle}: active once you type fpbus pipeline schedule-all"
        return advice


def _log(text: str) -> None:
    _say(f"{datetime.now(UTC):%H:%M:%SZ} {text}")


def _say(text: str) -> None:
    from fpbus.schemas.plain import plain

    print(plain(text, lines=True), flush=True)
