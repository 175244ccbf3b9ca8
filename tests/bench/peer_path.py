"""Others in the same place: same driver, broker, Redis, pipeline. RQ as its documentation shows it, and FlowerPower."""

from contextlib import AbstractContextManager
from typing import Literal

from bench import processes
from bench.driver import Driver, latencies, run_ids, warm_up
from bench.figures import Figures
from bench.peer_noop import python_of
from bench.place import Place


def measure_rq(place: Place, kind: Literal["simple", "forking"], runs: int, idle: int) -> Figures:
    roles = ("-m", "bench.rq_roles")
    with place.child(*roles, kind) as worker, place.child(*roles, "dispatcher") as dispatcher:
        return _measure(place, worker, dispatcher, runs, idle)


def measure_flowerpower(place: Place, runs: int, idle: int) -> Figures:
    python = str(python_of("flowerpower_roles"))
    folder = str(place.folder / "flowerpower")

    def role(name: str) -> AbstractContextManager[int]:
        return place.child("-m", "bench.peers.flowerpower_roles", name, folder, python=python)

    with role("worker") as worker, role("listener") as listener:
        return _measure(place, worker, listener, runs, idle)


def _measure(place: Place, worker: int, dispatcher: int, runs: int, idle: int) -> Figures:
    warm_up(place.broker.url)
    return _idle(place, idle) | _load(place, {"dispatcher": dispatcher, "worker": worker}, runs)


def _idle(place: Place, count: int) -> Figures:
    driver, ids = Driver(place.broker.url), run_ids("idle", count)
    published = driver.one_by_one(ids)
    driver.check(ids)
    driver.close()
    return latencies(driver, published)


def _load(place: Place, pids: dict[str, int], runs: int) -> Figures:
    driver, ids = Driver(place.broker.url), run_ids("load", runs)
    before = processes.cpu_of(pids | place.pids())
    seconds = driver.load(ids)
    after = processes.cpu_of(pids | place.pids())
    driver.check(ids)
    driver.close()
    return {"per_s": runs / seconds} | processes.cpu_figures(before, after, runs)
