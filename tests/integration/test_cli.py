"""The command line against a real broker and services that answer from a script."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fpbus.schemas import RunState
from support.servers import Broker
from support.standins import StandIns, standing_in
from support.waiting import wait_for

HEAVY = {"hamilton", "rq", "redis", "apscheduler", "sqlalchemy", "pandas", "opentelemetry", "amqtt", "rich"}

Done = subprocess.CompletedProcess[str]
Fpbus = Callable[..., Done]


@pytest.fixture
def services(mosquitto: Broker) -> Iterator[StandIns]:
    with standing_in(mosquitto.url) as services:
        yield services


@pytest.fixture
def environment(mosquitto: Broker) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FPBUS_")}
    return clean | {"FPBUS_MQTT_URL": mosquitto.url}


@pytest.fixture
def fpbus(environment: dict[str, str], tmp_path: Path) -> Fpbus:
    def run(*arguments: str, stdin: str | None = None) -> Done:
        return subprocess.run(
            [sys.executable, "-m", "fpbus", *arguments],
            input=stdin,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return run


@pytest.fixture
def in_background(environment: dict[str, str]) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "fpbus", *arguments]
        pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, env=environment, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_trigger_prints_the_id_of_the_run(services: StandIns, fpbus: Fpbus) -> None:
    done = fpbus("trigger", "hello", "--inputs", "-", "--input", "place=north", "--key", "boiler", stdin='{"x": 1}')

    (submit,) = services.requests
    assert (done.returncode, done.stdout) == (0, f"{submit.request.run_id}\n")
    assert (submit.request.inputs, submit.request.key) == ({"x": 1, "place": "north"}, "boiler")


def test_trigger_prints_the_status_as_json(services: StandIns, fpbus: Fpbus) -> None:
    done = fpbus("trigger", "hello", "--run-id", "r1", "--format", "json")

    status = json.loads(done.stdout)
    assert (status["type"], status["run_id"], status["state"]) == ("run_status", "r1", "accepted")


def test_trigger_waits_and_prints_the_outputs(services: StandIns, fpbus: Fpbus) -> None:
    done = fpbus("trigger", "hello", "--wait")

    assert done.returncode == 0
    assert done.stdout == "OUTPUT      VALUE\nfahrenheit  77.0\n"
    assert "started on edge-1/3, attempt 1" not in done.stderr
    for line in ("started on edge-1/3", "| measuring", "succeeded in 5 ms"):
        assert line in done.stderr.splitlines()


def test_trigger_waits_and_prints_the_whole_result_as_json(services: StandIns, fpbus: Fpbus) -> None:
    done = fpbus("trigger", "hello", "--wait", "--format", "json")

    result = json.loads(done.stdout)
    assert (result["type"], result["outputs"]) == ("run_result", {"fahrenheit": {"json": 77.0}})


def test_a_failed_run_is_told_with_its_node_and_traceback(services: StandIns, fpbus: Fpbus) -> None:
    done = fpbus("trigger", "broken", "--wait")

    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback:\n  raw\n" in done.stderr
    assert done.stderr.splitlines()[-1] == "failed in 5 ms: KeyError: 'x' (node raw)"


def test_a_wait_that_times_out_says_that_the_run_goes_on(services: StandIns, fpbus: Fpbus) -> None:
    done = fpbus("trigger", "slow", "--run-id", "r1", "--wait", "--timeout", "0.2")

    assert (done.returncode, done.stdout) == (124, "")
    assert done.stderr.splitlines()[-2:] == [
        "Error: Run r1 has not ended within 0.2 s. The run goes on.",
        "Follow it: fpbus watch r1",
    ]


def test_a_repeated_trigger_is_an_error_only_when_it_should_be(services: StandIns, fpbus: Fpbus) -> None:
    done = [fpbus("trigger", "hello", "--run-id", "r1", *more) for more in ([], [], ["--strict"], ["--wait"])]

    assert [one.returncode for one in done] == [0, 0, 7, 0]
    assert done[2].stderr == "Run r1 was accepted before; it is succeeded.\n"
    assert "fahrenheit  77.0" in done[3].stdout


@pytest.mark.parametrize(
    ("pipeline", "code", "told"),
    [
        ("helo", 4, "Error: There is no pipeline 'helo' in this project.\nDid you mean 'hello'?\n"),
        ("picky", 3, "Error: inputs.x: Expected `float`.\n"),
        ("busy", 5, "Error: Redis is not there.\nThe run "),
    ],
)
def test_a_refused_trigger_says_why(services: StandIns, fpbus: Fpbus, pipeline: str, code: int, told: str) -> None:
    done = fpbus("trigger", pipeline, "--wait")

    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(told) if code == 5 else done.stderr == told


def test_ctrl_c_while_waiting_leaves_the_run_alone(services: StandIns, in_background: Callable[..., Any]) -> None:
    waiting = in_background("trigger", "slow", "--run-id", "r1", "--wait")
    assert waiting.stderr.readline() == "Run r1\n"

    waiting.send_signal(signal.SIGINT)
    _, told = waiting.communicate(timeout=10)

    assert waiting.returncode == 130
    assert told == "The run goes on. Follow it: fpbus watch r1\n"
    assert services.runs["r1"].state is RunState.QUEUED


def test_watch_follows_a_run_to_its_end(services: StandIns, fpbus: Fpbus, in_background: Callable[..., Any]) -> None:
    fpbus("trigger", "slow", "--run-id", "r1")
    watching = in_background("watch", "r1")
    wait_for(lambda: services.shown, what="the question for the run's record")

    services.start("slow", "r1")
    services.finish("r1", RunState.CANCELLED)
    shown, _ = watching.communicate(timeout=10)

    assert (watching.returncode, shown) == (6, "started on edge-1/3\ncancelled in 5 ms\n")


@pytest.mark.parametrize(("pipeline", "code"), [("hello", 0), ("broken", 1)])
def test_watch_shows_a_run_that_has_ended(services: StandIns, fpbus: Fpbus, pipeline: str, code: int) -> None:
    fpbus("trigger", pipeline, "--run-id", "r1")

    table, lines = fpbus("watch", "r1"), fpbus("watch", "r1", "--format", "json")

    assert (table.returncode, lines.returncode) == (code, code)
    assert table.stdout.startswith("succeeded in 5 ms\nOUTPUT" if code == 0 else "failed in 5 ms: KeyError")
    (result,) = [json.loads(line) for line in lines.stdout.splitlines()]
    assert result["run_id"] == "r1"


def test_watch_of_a_run_that_nobody_knows_ends(services: StandIns, fpbus: Fpbus) -> None:
    done = fpbus("watch", "nobody")

    assert (done.returncode, done.stderr) == (4, "Error: There is no run 'nobody'.\n")


def test_watch_streams_a_pipeline_as_json_lines_until_ctrl_c(
    services: StandIns, in_background: Callable[..., Any]
) -> None:
    watching = in_background("watch", "--pipeline", "hello", "--format", "json")

    def heard() -> bool:
        services.start("broken", "r2")
        services.start("hello", "r1")
        return bool(select.select([watching.stdout], [], [], 0.1)[0])

    wait_for(heard, what="the first line")
    watching.send_signal(signal.SIGINT)
    lines, told = watching.communicate(timeout=10)

    assert (watching.returncode, told) == (130, "")
    assert {json.loads(line)["run_id"] for line in lines.splitlines()} == {"r1"}


def test_runs_are_listed_for_people_and_programs(services: StandIns, fpbus: Fpbus) -> None:
    fpbus("trigger", "hello", "--run-id", "r1")
    fpbus("trigger", "broken", "--run-id", "a-run-with-a-name-that-is-very-long-but-never-cut-off-in-a-pipe")

    table = fpbus("runs", "list")
    array = json.loads(fpbus("runs", "list", "--format", "json", "--limit", "1").stdout)
    failed = yaml.safe_load(fpbus("runs", "list", "--format", "yaml", "--state", "failed").stdout)

    title, *rows = [line.split() for line in table.stdout.splitlines()]
    assert title == ["RUN", "PIPELINE", "STATE", "ATTEMPT", "ACCEPTED", "DURATION", "KEY"]
    assert [row[0] for row in rows] == ["a-run-with-a-name-that-is-very-long-but-never-cut-off-in-a-pipe", "r1"]
    assert [run["pipeline"] for run in array] == ["broken"]
    assert [run["state"] for run in failed] == ["failed"]


def test_no_runs_are_an_empty_array_or_a_word(services: StandIns, fpbus: Fpbus) -> None:
    table, array = fpbus("runs", "list"), fpbus("runs", "list", "--format", "json")

    assert (table.stdout, table.stderr) == ("", "No runs.\n")
    assert (array.stdout, array.stderr) == ("[]\n", "")


def test_one_run_is_shown_cancelled_and_counted(services: StandIns, fpbus: Fpbus) -> None:
    fpbus("trigger", "slow", "--run-id", "r1")

    cancelled = fpbus("runs", "cancel", "r1")
    twice = fpbus("runs", "cancel", "r1", "--format", "json")
    again = json.loads(twice.stdout)
    shown = fpbus("runs", "show", "r1")
    counted = json.loads(fpbus("runs", "stats", "--pipeline", "slow", "--format", "json").stdout)

    assert cancelled.stderr == "Run r1 was queued and is being cancelled.\n"
    assert (again["state"], again["cancelling"], twice.returncode) == ("cancelled", False, 3)
    assert "state     cancelled" in shown.stdout.splitlines()
    assert counted[0]["pipeline"] == "slow"
    assert fpbus("runs", "show", "nobody").returncode == 4


def test_health_needs_every_service_or_the_one_asked_for(services: StandIns, fpbus: Fpbus) -> None:
    for role in ("dispatcher", "runner", "recorder"):
        services.announce(role)
    services.announce("scheduler", "degraded")

    every, one = fpbus("health"), fpbus("health", "runner", "--json")

    assert (every.returncode, every.stderr) == (5, "Not ready: scheduler.\n")
    assert one.returncode == 0
    report = json.loads(one.stdout)
    assert (report["healthy"], [service["role"] for service in report["services"]]) == (True, ["runner"])


def test_ps_shows_services_and_workers(services: StandIns, fpbus: Fpbus) -> None:
    services.announce("runner")

    table, report = fpbus("ps"), json.loads(fpbus("ps", "--format", "json").stdout)

    assert "one/1" in table.stdout
    assert [service["role"] for service in report["services"]] == ["runner"]
    assert [worker["name"] for worker in report["workers"]] == ["one/1"]


def test_a_reader_that_leaves_ends_the_command_quietly(
    services: StandIns, fpbus: Fpbus, environment: dict[str, str]
) -> None:
    fpbus("trigger", "hello")
    command = f"{sys.executable} -m fpbus runs list | true; echo ${{PIPESTATUS[0]}}"

    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=True)

    assert (done.stdout, done.stderr) == ("0\n", "")


def test_trigger_imports_nothing_heavy(services: StandIns, environment: dict[str, str]) -> None:
    script = (
        "import sys, fpbus.cli.main as cli\n"
        "sys.argv = ['fpbus', 'trigger', 'hello', '--wait', '--format', 'json']\n"
        "try: cli.main()\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=30, check=True
    )

    imported = set(done.stdout.splitlines()[-1].split())
    assert not imported & HEAVY
    assert {"fpbus", "typer", "paho"} <= imported
