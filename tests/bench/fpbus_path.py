"""fpbus end to end: all four services, one worker; runs/s, idle latency hop by hop, CPU and memory."""

import json
import statistics
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from bench import mqtt, processes
from bench.driver import PIPELINE, Driver, Heard, latencies, run_ids, warm_up
from bench.figures import Figures
from bench.place import Place
from support.stack import Stack
from support.waiting import wait_for

SERVICES = ("recorder", "dispatcher", "runner", "scheduler")
WARM = 20


def measure(place: Place, runs: int, idle: int) -> Figures:
    stack = Stack(place.folder / "fpbus", place.broker.url, place.redis.url)
    stack.add_pipeline(PIPELINE, Path(__file__).with_name("three_nodes.py").read_text(encoding="utf-8"))
    try:
        stack.start(*SERVICES)
        figures = _memory(stack, "rss_mb", "pss_mb")
        warm_up(place.broker.url, WARM)
        figures |= _idle(place, idle) | _load(place, stack, runs)
        assert len(stack.wait_records(WARM + idle + runs)) == WARM + idle + runs, "the history has not every run once"
        return figures | _memory(stack, "rss_after_mb", "pss_after_mb")
    finally:
        stack.stop()


def _load(place: Place, stack: Stack, runs: int) -> Figures:
    driver, ids = Driver(place.broker.url), run_ids("load", runs)
    before = _cpu(place, stack)
    seconds = driver.load(ids)
    stack.wait_records(runs)  # what the recorder does behind the last result is part of its runs
    after = _cpu(place, stack)
    driver.check(ids)
    driver.close()
    return {"per_s": runs / seconds} | processes.cpu_figures(before, after, runs)


def _cpu(place: Place, stack: Stack) -> dict[str, float]:
    pids = {name: stack.processes[name].pid for name in SERVICES}
    used = processes.cpu_of(pids | place.pids())
    return used | {"work-horse": processes.cpu_of_children_s(pids["runner"])}


def _memory(stack: Stack, rss: str, pss: str) -> Figures:
    """Note the memory of each service; the runner's fork server and work-horse have rows of their own."""
    pids = {name: stack.processes[name].pid for name in SERVICES}
    figures: Figures = {}
    for name, pid in (pids | processes.forks_of(pids["runner"])).items():
        figures[f"{rss} {name}"], figures[f"{pss} {name}"] = processes.memory_mb(pid)
    return figures


def _idle(place: Place, count: int) -> Figures:
    driver, ids = Driver(place.broker.url, mqtt.STATUSES, mqtt.RECORDED), run_ids("idle", count)
    published = driver.one_by_one(ids)
    recorded = wait_for(lambda: _receipts(driver, set(ids)), what="the receipts")
    driver.check(ids)
    driver.close()
    return latencies(driver, published) | _hops(driver, published, recorded)


def _receipts(driver: Driver, run_ids: set[str]) -> dict[str, int]:
    """Return when each run's receipt was heard, once all of them were."""
    heard = {
        receipt["run_id"]: message.at_ns
        for message in list(driver.heard)
        if message.topic == mqtt.RECORDED
        for receipt in json.loads(message.payload)["receipts"]
    }
    return heard if run_ids <= heard.keys() else {}


def _hops(driver: Driver, published: Mapping[str, int], recorded: Mapping[str, int]) -> Figures:
    """Return the median microseconds of each part of an idle run's way."""
    accepted = {heard.run_id: heard for heard in driver.heard if heard.topic.endswith("/status")}
    parts: dict[str, list[float]] = {}
    for run_id, result in driver.results().items():
        for name, took_ns in _parts(published[run_id], accepted[run_id], result, recorded[run_id]):
            parts.setdefault(name, []).append(took_ns / 1000)
    return {f"hop_us {name}": statistics.median(times) for name, times in parts.items()}


def _parts(published: int, accepted: Heard, result: Heard, recorded: int) -> Iterator[tuple[str, int]]:
    at: Callable[[str], int] = _stamps(json.loads(result.payload))
    yield "publish -> dispatcher decides", at("accepted_at") - published
    yield "decided -> work-horse starts", at("started_at") - at("accepted_at")
    yield "started -> finished", at("finished_at") - at("started_at")
    yield "finished -> result heard", result.at_ns - at("finished_at")
    yield "(publish -> accepted heard)", accepted.at_ns - published
    yield "(result heard -> receipt heard)", recorded - result.at_ns


def _stamps(result: Mapping[str, Any]) -> Callable[[str], int]:
    """Return a reader of a result's times, in nanoseconds since 1970."""
    return lambda name: round(datetime.fromisoformat(result[name]).timestamp() * 1e6) * 1000
