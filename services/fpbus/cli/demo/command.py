"""The demo as a whole: start, follow, compare, and leave nothing behind."""

import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from .onlooker import Onlooker
    from .screen import Screen
    from .story import Story

_INTERRUPTED: Final = 130
_FOLLOW_S: Final = 30.0
_LOOK_S: Final = 0.1


def demo(keep: Annotated[bool, typer.Option("--keep", help="Keep the demo's project.")] = False) -> None:
    """See fpbus at work in a project of its own.

    Starts everything in a temporary folder, has a plain MQTT device publish real measurements, shows what becomes
    of them, and ends by itself. The exit code is 0 when every message has its result and its record, or its rejection.
    """
    from .screen import Screen
    from .system import demo_project, ended_by_signals

    screen = Screen()
    try:
        with ended_by_signals(), demo_project(keep=keep) as folder:
            screen.begin(folder, keep=keep)
            faults = _run(folder, screen)
        screen.say_stopped(keep=keep)
        screen.show_next_steps(folder if keep else None)
    except KeyboardInterrupt:
        screen.say_stopped(keep=keep)
        raise typer.Exit(_INTERRUPTED) from None
    if faults:
        raise typer.Exit(1)


def _run(folder: "Path", screen: "Screen") -> list[str]:
    """Have everything happen once; return what does not agree."""
    from .onlooker import Onlooker
    from .story import Story
    from .system import device, up

    began = time.monotonic()
    story = Story()
    try:
        with up(folder) as system, Onlooker.connect(system.mqtt_url) as onlooker:
            screen.show_system(system, time.monotonic() - began)
            screen.show_device(system.mqtt_url)
            with device(folder, system.mqtt_url) as process:
                _follow(story, onlooker, process, screen)
                return _compare(story, onlooker, process, screen)
    finally:
        screen.say_stopping()


def _follow(story: "Story", onlooker: "Onlooker", process: "subprocess.Popen[str]", screen: "Screen") -> None:
    """Show what is said on the bus, until the device has ended and all is told."""
    deadline = time.monotonic() + _FOLLOW_S
    while (process.poll() is None or not story.complete) and time.monotonic() < deadline:
        if heard := onlooker.next(_LOOK_S):
            for run, said in story.hear(heard.topic, heard.payload, heard.at):
                screen.show(run, said, heard.at)


def _compare(story: "Story", onlooker: "Onlooker", process: "subprocess.Popen[str]", screen: "Screen") -> list[str]:
    """Ask the device and the recorder, show everyone's figures, and say what does not agree."""
    from fpbus.schemas import ListRuns

    from .story import WEATHER
    from .system import read_report
    from .timing import legs
    from .verdict import missing

    report = read_report(process)
    records = onlooker.control.list_runs(ListRuns(pipeline=WEATHER, limit=1000))
    stats = onlooker.control.stats()
    screen.show_agreement(story, len(records), report)
    screen.show_times(legs(story.of(WEATHER)), report)
    faults = missing(story, report, records, stats)
    screen.show_verdict(faults)
    return faults
