"""What a process costs: CPU time and memory, as the kernel counts them."""

import os
from collections.abc import Mapping

import psutil

from bench.figures import Figures
from support.waiting import wait_for


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process, and of those children of it that have ended."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system + times.children_user + times.children_system


def own_cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process alone."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def cpu_of(pids: Mapping[str, int]) -> dict[str, float]:
    """Return the CPU seconds of some processes, and of this one alone, which is the driver."""
    return {name: cpu_s(pid) for name, pid in pids.items()} | {"driver": sum(os.times()[:2])}


def cpu_figures(before: Mapping[str, float], after: Mapping[str, float], runs: int) -> Figures:
    """Return the microseconds of CPU that each process has spent on one run."""
    return {f"cpu_us {name}": (after[name] - before[name]) / runs * 1e6 for name in after}


def cpu_of_children_s(pid: int) -> float:
    """Return the CPU seconds of everything that runs below a process."""
    return sum(cpu_s(one.pid) for one in psutil.Process(pid).children(recursive=True))


def memory_mb(pid: int) -> tuple[float, float]:
    """Return resident memory, and the share of it that would be free without this process (PSS), in MB."""
    memory = psutil.Process(pid).memory_full_info()
    return memory.rss / 1e6, memory.pss / 1e6


def forks_of(pid: int) -> dict[str, int]:
    """Return the pids of a runner's fork server and of its one work-horse, once what it makes at its start is gone."""
    found = wait_for(lambda: _horses_of(pid), what="one work-horse alone")
    return {"fork server": found[0], "work-horse": found[1]}


def _horses_of(pid: int) -> list[int]:
    family = [(server.pid, horse.pid) for server in psutil.Process(pid).children() for horse in server.children()]
    return list(family[0]) if len(family) == 1 else []
