"""What `Project.run` costs above Hamilton's own driver, kept, for three nodes. Prints JSON, in microseconds.

python tests/bench/project_overhead.py [rounds]
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from hamilton import driver

from fpbus.pipelines import NodeReport, Project

_SOURCE = """
def doubled(number: int) -> int:
    return number * 2


def squared(doubled: int) -> int:
    return doubled * doubled


def total(doubled: int, squared: int) -> int:
    return doubled + squared
"""
_BATCH = 50


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = _project(Path(place))
        project = Project.load(folder)
        project.run("three", {"number": 1})
        dag = driver.Builder().with_modules(_module()).build()
        reports: list[NodeReport] = []
        ways: dict[str, Callable[[], object]] = {
            "hamilton": lambda: dag.execute(["total"], inputs={"number": 3}),
            "project": lambda: project.run("three", {"number": 3}),
            "project, outputs named": lambda: project.run("three", {"number": 3}, ["total"]),
            "project, reporting": lambda: project.run("three", {"number": 3}, report=reports.append),
        }
        taken = _interleaved(ways, rounds)
    plain = taken["hamilton"]
    for name, times in taken.items():
        row = {
            "what": name,
            "median_us": round(statistics.median(times), 1),
            "above_us": round(statistics.median(a - b for a, b in zip(times, plain, strict=True)), 1),
            "rounds": rounds,
            "batch": _BATCH,
        }
        print(json.dumps(row))


def _interleaved(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Take turns, so that what the machine does meanwhile falls on all alike. Times are those of one call."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, call in ways.items():
            began = time.perf_counter()
            for _ in range(_BATCH):
                call()
            taken[name].append((time.perf_counter() - began) / _BATCH * 1e6)
    return taken


def _project(folder: Path) -> Path:
    (folder / "pipelines").mkdir()
    (folder / "conf" / "pipelines").mkdir(parents=True)
    (folder / "conf" / "project.yml").write_text("name: overhead\n")
    (folder / "conf" / "pipelines" / "three.yml").write_text("run:\n  final_vars: [total]\n")
    (folder / "pipelines" / "three.py").write_text(_SOURCE)
    return folder


def _module() -> ModuleType:
    """The pipeline's module, which `Project` has imported."""
    return sys.modules["pipelines.three"]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
