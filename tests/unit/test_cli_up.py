"""The screen of `fpbus up`."""

from pathlib import Path

import pytest

from fpbus import supervisor
from fpbus.cli.up import Screen
from fpbus.lifecycle import Settings

BEFORE = (
    supervisor.ServerChosen("broker", "mosquitto", "mqtt://127.0.0.1:1883", "Keeps messages on disk."),
    supervisor.ProcessStarted("runner", 41, "workers 2"),
    supervisor.ProcessReady("runner", 0.5),
    supervisor.AllReady(2.14, Settings()),
)


def screen_after(*events: supervisor.Event) -> Screen:
    screen = Screen("greenhouse", Path("/srv/greenhouse"), example="hello", idle_schedules=["nightly"])
    for event in events:
        screen.hear(event)
    return screen


def test_it_says_what_runs_where_and_what_to_do_next(capsys: pytest.CaptureFixture[str]) -> None:
    screen_after(*BEFORE)

    shown = capsys.readouterr().out
    for words in (
        "greenhouse in /srv/greenhouse",
        "mosquitto, mqtt://127.0.0.1:1883",
        "Keeps messages on disk.",
        "fpbus trigger hello --wait",
        "publish {} to pipelines/hello/run on mqtt://127.0.0.1:1883",
        "/srv/greenhouse/.fpbus/logs",
        "of nightly: active once you type fpbus pipeline schedule-all",
    ):
        assert words in shown
    assert "  runner          41     0.5 s  workers 2\n" in shown
    assert shown.endswith("\nready in 2.1 s\n")


def test_each_later_change_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    screen = screen_after(*BEFORE)
    capsys.readouterr()

    for event in (
        supervisor.ProcessDied("runner", -9, 0.5),
        supervisor.ProcessStarted("runner", 42, ""),
        supervisor.ProcessReady("runner", 0.4),
        supervisor.ProcessDied("runner", 3, 1.0),
        supervisor.Stopping(),
        supervisor.ProcessStopped("runner"),
    ):
        screen.hear(event)

    assert [line.partition(" ")[2] for line in capsys.readouterr().out.splitlines()] == [
        "runner was killed by signal 9; it starts again in 0.5 s",
        "runner is ready again, pid 42",
        "runner ended with code 3; it starts again in 1.0 s",
        "stopping",
        "runner stopped",
    ]
