"""What a process costs: CPU time and memory, as the kernel counts them."""

import psutil


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process, and of those children of it that have ended."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system + times.children_user + times.children_system


def cpu_of_children_s(pid: int) -> float:
    """Return the CPU seconds of everything that runs below a process."""
    return sum(cpu_s(one.pid) for one in psutil.Process(pid).children(recursive=True))


def memory_mb(pid: int) -> tuple[float, float]:
    """Return resident memory, and the share of it that would be free without this process (PSS), in MB."""
    memory = psutil.Process(pid).memory_full_info()
    return memory.rss / 1e6, memory.pss / 1e6


def children(pid: int) -> list[int]:
    return [one.pid for one in psutil.Process(pid).children(recursive=True)]
