"""What happens when far more comes than is worked off: a burst, and what a run costs while many wait before it.

A burst is published as fast as the broker takes it, while all services run. Then, with no runner, the queue is filled:
with a thousand, and with as many as are asked for. At both depths the same
number of runs is submitted and, with a runner, executed; their CPU time is compared, without that of the child in which
Redis writes its file anew, which it does whenever the file has doubled.

    python tests/bench/backlog.py [--burst 100000] [--deep 1000000]
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from redis import Redis

sys.path[0] = str(Path(__file__).parents[1])  # `bench` and `support` are found where pytest finds them

from bench import processes  # noqa: E402
from bench.driver import PIPELINE, RUN_TOPIC, request, run_ids, warm_up  # noqa: E402
from bench.figures import Figures  # noqa: E402
from bench.place import Place, fresh_place  # noqa: E402
from bench.wire import Wire  # noqa: E402
from fpbus.schemas import queue  # noqa: E402
from support.stack import Stack  # noqa: E402
from support.waiting import wait_for  # noqa: E402

SHALLOW: Final = 1_000
SAMPLE: Final = 5_000
AT_ONCE: Final = 500
WARM: Final = 20
UNCONFIRMED: Final = 10_000
SETTLED_WITHIN_S: Final = 1_800.0


def main() -> None:
    parser = argparse.ArgumentParser(description="Time a burst, and the cost of a run behind a long queue.")
    parser.add_argument("--burst", type=int, default=100_000)
    parser.add_argument("--deep", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with fresh_place() as place:
        print(json.dumps({"burst": arguments.burst} | burst(place, arguments.burst)))
    costs: dict[int, Figures] = {}
    for depth in (SHALLOW, arguments.deep):
        with fresh_place() as place:
            costs[depth] = cost_behind(place, depth)
        print(json.dumps({"queued": depth} | costs[depth]))
    few, many = (sum(figures.values()) for figures in costs.values())
    print(f"a run behind {arguments.deep:,} costs {many / few:.2f} times what it costs behind {SHALLOW:,} (bar: 1.1)")


def burst(place: Place, count: int) -> Figures:
    """Publish a burst; return when it was with the broker, accepted and recorded, and the dispatcher's memory."""
    stack = _stack(place)
    try:
        stack.start()
        warm_up(place.broker.url, WARM)
        dispatcher = stack.processes["dispatcher"].pid
        began = time.perf_counter()
        flood(place.broker.url, run_ids("burst", count))
        taken = time.perf_counter() - began
        with Redis.from_url(place.redis.url) as redis:
            _wait_accepted(redis, WARM + count)
            accepted = time.perf_counter() - began
        peak = _peak_mb(dispatcher)
        stack.wait_records(count, SETTLED_WITHIN_S)
        recorded = time.perf_counter() - began
        after, _ = processes.memory_mb(dispatcher)
    finally:
        stack.stop()
    return {
        "published_s": taken,
        "accepted_s": accepted,
        "recorded_s": recorded,
        "dispatcher_peak_mb": peak,
        "dispatcher_after_mb": after,
    }


def cost_behind(place: Place, depth: int) -> Figures:
    """Return the microseconds of CPU that each process spends on a run while `depth` others wait before it."""
    stack = _stack(place)
    try:
        stack.start("recorder", "dispatcher")
        with Redis.from_url(place.redis.url) as redis:
            flood(place.broker.url, run_ids("waiting", depth))
            _wait_accepted(redis, depth)
            submitting = _cost(place, stack, lambda: _submit(place, redis, depth))
            stack.start("runner")
            _wait_executed(redis, SAMPLE // 10)  # what is loaded once, is
            executing = _cost(place, stack, lambda: _wait_executed(redis, SAMPLE))
    finally:
        for process in stack.processes.values():
            process.kill()
    return {f"submit_us {name}": used for name, used in submitting.items()} | {
        f"execute_us {name}": used for name, used in executing.items()
    }


def flood(url: str, ids: Sequence[str]) -> None:
    """Publish a request for each id, as fast as the broker reads; return after its last PUBACK."""
    with Wire(url, "flood") as wire:
        for first in range(0, len(ids), AT_ONCE):
            wire.publish(RUN_TOPIC, [request(run_id) for run_id in ids[first : first + AT_ONCE]])
            while wire.confirmed < first - UNCONFIRMED:
                wire.read()
        while wire.confirmed < len(ids):
            wire.read()


def _submit(place: Place, redis: "Redis", depth: int) -> int:
    flood(place.broker.url, run_ids("sample", SAMPLE))
    return _wait_accepted(redis, depth + SAMPLE) - depth


def _wait_accepted(redis: "Redis", count: int) -> int:
    return wait_for(lambda: _at_least(int(redis.get("fpbus:seq") or 0), count), SETTLED_WITHIN_S, "runs accepted")


def _wait_executed(redis: "Redis", count: int) -> int:
    """Wait until so many more have ended; return how many really have."""
    before = redis.zcard(queue.OPEN)
    return wait_for(lambda: _at_least(before - redis.zcard(queue.OPEN), count), SETTLED_WITHIN_S, "runs ended")


def _at_least(number: int, bar: int) -> int:
    return number if number >= bar else 0


def _cost(place: Place, stack: Stack, act: Callable[[], int]) -> Figures:
    before = _cpu(place, stack)
    done = act()
    after = _cpu(place, stack)
    return {name: (after[name] - before[name]) / done * 1e6 for name in after}


def _cpu(place: Place, stack: Stack) -> dict[str, float]:
    pids = {name: process.pid for name, process in stack.processes.items()} | place.pids()
    used = {name: processes.own_cpu_s(pid) for name, pid in pids.items()}
    return used | ({"work-horse": processes.cpu_of_children_s(pids["runner"])} if "runner" in pids else {})


def _stack(place: Place) -> Stack:
    stack = Stack(place.folder / "fpbus", place.broker.url, place.redis.url)
    stack.add_pipeline(PIPELINE, Path(__file__).with_name("three_nodes.py").read_text(encoding="utf-8"))
    return stack


def _peak_mb(pid: int) -> float:
    """Return the most resident memory that a process ever had (`VmHWM`)."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1000


if __name__ == "__main__":
    main()
