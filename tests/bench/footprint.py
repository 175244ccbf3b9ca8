"""How long it takes to be there: `fpbus up`, and a command line that has nothing to do."""

import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from bench.figures import Figures
from fpbus.project import make_project

#: What only a service or a connection needs; loading one of them costs more than the whole command line.
ENGINES: Final = (
    "amqtt",
    "apscheduler",
    "hamilton",
    "numpy",
    "opentelemetry",
    "paho",
    "pandas",
    "redis",
    "rq",
    "sqlalchemy",
)
COMMAND: Final = str(Path(sys.executable).with_name("fpbus"))
STARTS: Final = 10


def measure(folder: Path) -> Figures:
    return {
        "bare_python_s": _median_s(sys.executable, "-c", "pass"),
        "help_s": _median_s(COMMAND, "--help"),
        "up_s": _up_s(folder / "up"),
    } | _imported()


def _median_s(*command: str) -> float:
    _run_s(*command)  # so that bytecode and files are at hand
    return statistics.median(_run_s(*command) for _ in range(STARTS))


def _run_s(*command: str) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def _imported() -> Figures:
    """Count what the command line imports before it knows its command, and how many engines are among that."""
    told = subprocess.run(
        [sys.executable, "-c", "import sys, fpbus.cli.main; print(*sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    )
    modules = told.stdout.split()
    engines = [name for name in ENGINES if name in modules]
    return {"cli_modules": len(modules), "cli_engines": len(engines)}


def _up_s(project: Path) -> float:
    """Return the seconds from the command to its line `ready in`."""
    project.mkdir()
    make_project(project, "bench")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FPBUS_")}
    began = time.perf_counter()
    with subprocess.Popen([COMMAND, "up"], cwd=project, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert any(line.startswith("ready in") for line in process.stdout), "`fpbus up` did not become ready"
            return time.perf_counter() - began
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
