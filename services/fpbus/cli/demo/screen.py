"""What the person at the terminal sees, from top to bottom. Plain text where it is no terminal or NO_COLOR is set."""

import os
import shutil
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from fpbus.schemas import NodeEvent, Recorded, Rejection, RunResult, RunState, RunStatus, topics
from fpbus.supervisor import Running, find_programs

from .story import CLIMATE, WEATHER, Run, Said, Story
from .system import DATA, YEAR, DeviceReport
from .timing import Leg, since

_TITLE: Final = "bold"
_GOOD: Final = "green"
_BAD: Final = "bold red"
_CLOCK: Final = "cyan"
_ASIDE: Final = "dim"

_TASKS: Final = {
    "recorder": "writes the history",
    "runner": "runs the Hamilton nodes",
    "dispatcher": "checks messages, makes each one job",
    "scheduler": "asks for runs when it is time",
}
_ROW: Final = "  {:<10} {:>5} {:>6}  {:<23} {:>8} {:>6} {:>8}"


class Screen:
    """Prints lines; nothing is drawn over, so that one can scroll back and a file gets the same."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, color_system=None if os.environ.get("NO_COLOR") else "auto")
        self._first: Run | None = None
        self._in_table = False

    def begin(self, folder: Path, *, keep: bool) -> None:
        self._say("A weather station sends messages, fpbus makes runs of them. You see it live.", _TITLE)
        self._title("1. A new project, and everything that it needs, on this machine")
        self._say(f"  project     {folder} ({'kept' if keep else 'removed at the end; --keep keeps it'})")
        self._say("  data        daily weather of Seattle: NOAA, public domain (from vega-datasets)")
        self._say("  starting    fpbus up --schedule")

    def show_system(self, system: Running, seconds: float) -> None:
        programs = find_programs()
        servers = {
            "broker": (programs.mosquitto or "amqtt", system.mqtt_url),
            "redis": (programs.redis or "redis", system.redis_url),
        }
        for name, child in system.processes.items():
            program, url = servers.get(name, ("", ""))
            what = f"{Path(program).name}, {url}" if url else _TASKS.get(name, "")
            self._say(f"  {name:<11} pid {child.pid:<8} {what}")
        self._say(f"  all ready after {seconds:.1f} s", _GOOD)

    def show_device(self, url: str) -> None:
        self._title("2. A device: another process, with paho-mqtt and none of our code")
        self._say(f"  python device.py {url} {DATA} {YEAR}")
        self._say("  Its first message, and who says what about it on which topic:", _ASIDE)

    def show(self, run: Run, said: Said | None, at: datetime) -> None:
        """Show a message as it comes: each step of the first run, one line for every other."""
        if self._first is None and run.pipeline == WEATHER:
            self._first = run
        if run is self._first:
            self._show_step(run, said, at)
        if run.pipeline == CLIMATE:
            self._show_scheduled(run, said)
        elif isinstance(said, Rejection):
            self._begin_table()
            self._say(f"  {run.run_id} REJECTED, field {said.field}: {said.message}", _BAD)
            self._say("             (sent wrong on purpose: it says `input` instead of `inputs`)", _ASIDE)
        elif isinstance(said, Recorded if run is self._first else RunResult):
            self._begin_table()
            self._show_row(run)

    def show_agreement(self, story: Story, records: int, report: DeviceReport | str) -> None:
        """Show the figures of everyone who could count."""
        runs = story.of(WEATHER)
        scheduled = [run for run in story.of(CLIMATE) if run.recorded_at]
        heard = f"the device got {report.results}" if isinstance(report, DeviceReport) else "the device did not report"
        figures = (
            ("messages", len(runs), "published by the device"),
            ("accepted", sum(run.accepted_at is not None for run in runs), "by the dispatcher"),
            ("rejected", sum(run.rejection is not None for run in runs), "by the dispatcher, with the field's name"),
            ("succeeded", sum(run.succeeded for run in runs), f"results of the runner; {heard}"),
            ("remembered", records, "in the history, says the recorder"),
            ("scheduled", len(scheduled), "runs that the scheduler asked for, remembered as well"),
        )
        self._title("4. What everyone counted")
        for what, count, by in figures:
            self._say(f"  {what:<11} {count:>3}  {by}")

    def show_times(self, legs: Sequence[Leg], report: DeviceReport | str) -> None:
        self._title("5. Where the time went")
        self._say(f"  {'':<52} {'MEDIAN':>9} {'95 %':>9}")
        if isinstance(report, DeviceReport):
            self._say_times("from message to result, by the device's clock", report.p50_ms, report.p95_ms)
        for leg in legs:
            self._say_times(f"  {leg.what}", leg.median_ms, leg.p95_ms)

    def show_verdict(self, faults: Sequence[str]) -> None:
        self._say("")
        for fault in faults:
            self._say(fault, _BAD)
        if faults:
            self._say("The logs may say why: fpbus demo --keep, then .fpbus/logs in its folder.")
        else:
            self._say("Everything agrees: each message has its result and its record, or its rejection.", _GOOD)

    def show_next_steps(self, folder: Path | None) -> None:
        """Say how to go on; `folder` is the demo's own project when it is kept."""
        self._title("6. How to go on")
        for line in (*_activation(), *_next_steps(), *(_kept(folder) if folder else ())):
            self._say(f"  {line}", _ASIDE if line.startswith("#") else "")

    def say_stopping(self) -> None:
        self._say("\nStopping the services, the broker and Redis ...", _ASIDE)

    def say_stopped(self, *, keep: bool) -> None:
        self._say(f"All stopped{'' if keep else ', the project is removed'}.", _ASIDE)

    def _show_step(self, run: Run, said: Said | None, at: datetime) -> None:
        at_ms = since(run, at)
        match said:
            case None:
                request = msgspec.json.format(run.payload, indent=0).decode()  # spaces, to break the line at
                self._step(at_ms, "device", topics.run(run.pipeline), detail=request)
            case RunStatus(state=RunState.ACCEPTED):
                self._step(at_ms, "dispatcher", topics.status(run.pipeline, run.run_id), "accepted")
            case RunStatus():
                self._step(at_ms, "runner", ".../status", str(said.state))
            case NodeEvent() if said.duration_s is not None:
                self._step(
                    at_ms, "runner", f".../nodes/{said.node}", f"{said.event} in {said.duration_s * 1000:.2f} ms"
                )
            case RunResult():
                self._step(at_ms, "runner", ".../result", str(said.state), detail=str(_output(run, "report")))
            case Recorded():
                self._step(at_ms, "recorder", topics.RECORDED, "in the history")
            case _:
                pass

    def _step(self, at_ms: float, who: str, topic: str, what: str = "", detail: str = "") -> None:
        self._say(f"  {at_ms:>6.1f} ms  {who:<10}  {topic:<30} {what}".rstrip())
        if detail:
            self._console.print(Padding(Text(detail, _ASIDE), (0, 0, 0, 13)))

    def _begin_table(self) -> None:
        if self._in_table:
            return
        self._in_table = True
        self._title("3. All its messages, a line for each run; times count from the message")
        self._say(_ROW.format("RUN", "HIGH", "FEELS", "VERDICT", "ACCEPTED", "NODES", "RESULT"), _ASIDE)

    def _show_row(self, run: Run) -> None:
        row = _ROW.format(
            run.run_id,
            run.request.get("inputs", {}).get("temp_max", ""),
            _output(run, "feels_like"),
            ", ".join([str(_output(run, "comfort")), *(_output(run, "warnings") or ())]),
            f"{since(run, run.accepted_at):.0f} ms",
            len(run.nodes),
            f"{since(run, run.result_at):.0f} ms" if run.succeeded else str(run.result and run.result.state),
        )
        self._say(row, "" if run.succeeded else _BAD)

    def _show_scheduled(self, run: Run, said: Said | None) -> None:
        if isinstance(said, RunResult):
            self._say(f"  scheduler, every 4 s: {CLIMATE}: {_output(run, 'extremes')}", _CLOCK)

    def _say_times(self, what: str, median_ms: float, p95_ms: float) -> None:
        self._say(f"  {what:<52} {median_ms:>6.1f} ms {p95_ms:>6.1f} ms")

    def _title(self, text: str) -> None:
        self._say(f"\n{text}", _TITLE)

    def _say(self, text: str, style: str = "") -> None:
        # Whoever copies a command or greps a file wants lines that we have not broken.
        self._console.print(text, style=style, markup=False, soft_wrap=True)


def _output(run: Run, name: str) -> Any:
    output = run.result.outputs.get(name) if run.result else None
    return output.json if output else ""


def _activation() -> list[str]:
    """Say how to get `fpbus` on the PATH, for those who came by `make demo`."""
    return [] if shutil.which("fpbus") else [f". {Path(sys.prefix) / 'bin' / 'activate'}"]


def _next_steps() -> list[str]:
    return [
        "fpbus init --name my-project && cd my-project",
        "fpbus up",
        "# and in another terminal, in my-project:",
        "fpbus trigger hello --input celsius=25 --wait",
        "fpbus watch",
        "fpbus runs list",
        "# or from any MQTT client, on port 1883 unless `fpbus up` names another:",
        'mosquitto_pub -q 1 -t pipelines/hello/run -m \'{"inputs": {"celsius": 25}}\'',
    ]


def _kept(folder: Path) -> list[str]:
    return [
        "# the demo's own project, with other years for the device:",
        f"cd {folder} && fpbus up --schedule",
        f"cd {folder} && python device.py mqtt://127.0.0.1:1883 {DATA} 2014",
    ]
