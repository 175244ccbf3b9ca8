"""Stock RQ in the same place: same driver, broker, Redis and pipeline, with RQ as its documentation shows it."""

from typing import Literal

from bench import processes
from bench.driver import Driver, latencies, run_ids, warm_up
from bench.figures import Figures
from bench.place import Place


def measure(place: Place, kind: Literal["simple", "forking"], runs: int, idle: int) -> Figures:
    roles = ("-m", "bench.rq_roles")
    with place.child(*roles, kind) as worker, place.child(*roles, "dispatcher") as dispatcher:
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
