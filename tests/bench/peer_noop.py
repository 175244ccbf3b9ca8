"""Other queues, each with one task that does nothing, in an environment of its own: their requirements contradict.

A module says how to enqueue (`enqueue`), how many results are missing (`missing`), how to ask and wait (`ask`), and how
its worker is started (`WORKER`). `drive` measures one of them, run by the Python of its environment.
"""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

from bench.figures import Figures
from bench.place import TESTS, Place

#: Module, and what it needs.
PEERS: Final = {
    "on_dramatiq": ("dramatiq[redis]",),
    "on_taskiq": ("taskiq", "taskiq-redis"),
    "on_huey": ("huey", "redis"),
    "on_arq": ("arq",),
    "flowerpower_roles": ("FlowerPower[rq]==0.11.6.20", "paho-mqtt", "psutil"),
}
ENVIRONMENTS: Final = Path(sys.prefix) / "peers"


def measure(place: Place, module: str, jobs: int, idle: int) -> Figures:
    """Measure one peer on a Redis of its own."""
    python = python_of(module)
    environment = os.environ | {"PYTHONPATH": str(TESTS), "BENCH_REDIS_URL": place.redis.url}
    command = [str(python), "-m", "bench.peers.drive", module, str(jobs), str(idle)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    figures: Figures = json.loads(done.stdout)
    return figures


def python_of(module: str) -> Path:
    """Return the Python of a peer's environment, which is made when it is not there."""
    python = ENVIRONMENTS / module / "bin" / "python"
    if not python.exists():
        venv.create(python.parents[1], with_pip=True)
        needed = PEERS[module]
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *needed], check=True)
    return python
