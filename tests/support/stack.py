"""The services as real processes against real servers, so that a test can kill any of them."""

import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from fpbus.project import make_project
from support.waiting import wait_for

ROLES = ("recorder", "dispatcher", "runner")

ADD_PY = '''
"""Three nodes; the last one leaves a mark, so that executions can be counted."""
import os


def doubled(x: int) -> int:
    return x * 2


def plus_one(doubled: int) -> int:
    return doubled + 1


def answer(plus_one: int, x: int, marks: str) -> int:
    with open(marks, "a") as file:
        file.write(f"{x}\\n")
    return plus_one
'''


@dataclass
class Process:
    """One service."""

    role: str
    environment: dict[str, str]
    log: Path
    arguments: tuple[str, ...] = ()
    popen: "subprocess.Popen[str] | None" = field(default=None, init=False)

    def start(self) -> "Process":
        command = [sys.executable, "-m", "fpbus", "serve", self.role, *self.arguments]
        with self.log.open("ab") as output:
            self.popen = subprocess.Popen(
                command, env=self.environment, stdout=subprocess.PIPE, stderr=output, text=True
            )
        return self

    def wait_ready(self) -> "Process":
        assert self.popen is not None
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        assert line.startswith("ready "), f"{self.role} said {line!r}; its log:\n{self.log.read_text()[-3000:]}"
        return self

    def kill(self, number: int = signal.SIGKILL) -> int:
        assert self.popen is not None
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        code = self.popen.wait(40)
        if self.popen.stdout is not None:
            self.popen.stdout.close()
        return code

    @property
    def pid(self) -> int:
        assert self.popen is not None
        return self.popen.pid


class Stack:
    """A project, and the services that run it."""

    def __init__(self, folder: Path, mqtt_url: str, redis_url: str) -> None:
        self.folder = folder
        self.project = folder / "project"
        self.marks = folder / "marks"
        self.project.mkdir(parents=True)
        make_project(self.project, "under-test")
        self.add_pipeline("add", ADD_PY, f"run:\n  final_vars: [answer]\nparams:\n  marks: {self.marks}\n")
        self.environment = os.environ | {
            "HAMILTON_AUTOLOAD_EXTENSIONS": "0",  # each runner would import mlflow, dask and all the others for nothing
            "FPBUS_MQTT_URL": mqtt_url,
            "FPBUS_REDIS_URL": redis_url,
            "FPBUS_PROJECT": str(self.project),
            "FPBUS_INSTANCE": "t",
        }
        self.processes: dict[str, Process] = {}

    def add_pipeline(self, name: str, module: str, config: str = "run: {}\n") -> None:
        (self.project / "pipelines" / f"{name}.py").write_text(module)
        (self.project / "conf" / "pipelines" / f"{name}.yml").write_text(config)

    def configure(self, text: str) -> None:
        """Add to the project's own configuration."""
        path = self.project / "conf" / "project.yml"
        path.write_text(path.read_text() + text)

    def start(self, *roles: str) -> "Stack":
        for role in roles or ROLES:
            self.processes[role] = self.process(role).start()
        for role in roles or ROLES:
            self.processes[role].wait_ready()
        return self

    def process(self, role: str, *arguments: str) -> Process:
        return Process(role, self.environment, self.folder / f"{role}.log", arguments)

    def kill(self, role: str) -> None:
        self.processes[role].kill()

    def restart(self, role: str) -> None:
        """Kill a service and have it back."""
        self.kill(role)
        self.processes[role].start().wait_ready()

    def stop(self) -> dict[str, int]:
        """Stop all services as an operator would; return their exit codes."""
        codes: dict[str, int] = {}
        for process in self.processes.values():
            if process.popen is not None and process.popen.poll() is None:
                process.popen.send_signal(signal.SIGTERM)
        for role, process in self.processes.items():
            codes[role] = process.kill(signal.SIGCONT)
        return codes

    def logs(self) -> str:
        return "\n".join(f"--- {path.name}\n{path.read_text()[-4000:]}" for path in self.folder.glob("*.log"))

    def executions(self) -> list[int]:
        """Return the inputs that the pipeline `add` was run with, once for each time."""
        return [int(line) for line in self.marks.read_text().split()] if self.marks.exists() else []

    def records(self) -> list[tuple[str, str, int]]:
        """Return run id, state and attempt of every run in the history, straight from its file."""
        path = self.project / ".fpbus" / "history.db"
        if not path.exists():
            return []
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            rows = database.execute("select run_id, state, attempt from runs").fetchall()
        database.close()
        return rows

    def wait_records(self, count: int, timeout_s: float = 60.0) -> list[tuple[str, str, int]]:
        """Return the records once `count` runs have ended."""

        def ended() -> list[tuple[str, str, int]]:
            rows = [row for row in self.records() if row[1] in {"succeeded", "failed", "cancelled", "dead"}]
            return rows if len(rows) >= count else []

        try:
            return wait_for(ended, timeout_s, f"{count} records")
        except AssertionError:
            raise AssertionError(f"{len(self.records())} of {count} records; logs:\n{self.logs()}") from None
