"""What a reader sees first: ratios, then rates and latencies, then where the time, the CPU and the memory go."""

from collections.abc import Iterator

from bench.figures import Results, Spread
from bench.hops import FLOOR

FPBUS, RQ, RQ_FORKING = "fpbus", "stock RQ, SimpleWorker", "stock RQ, forking Worker"
RQ_NOOP, CELERY_NOOP = "RQ SimpleWorker, no-op", "Celery prefork, acks_late, no-op"
DRAMATIQ_NOOP, TASKIQ_NOOP = "dramatiq, prefetch 100, no-op", "taskiq, stream, no-op"
HUEY_NOOP, ARQ_NOOP = "Huey, one thread, no-op", "arq, poll 10 ms, no-op"
FLOWERPOWER, BARE, STARTS = "FlowerPower 0.11", "bare", "starts"

_RATIOS = {
    RQ: "stock RQ in the same place (bar: 8)",
    RQ_FORKING: "the same with RQ's default worker, which forks",
    FLOWERPOWER: "FlowerPower in the same place (bar: 30)",
    CELERY_NOOP: "Celery, no-op task, no MQTT (bar: 2)",
    DRAMATIQ_NOOP: "dramatiq, no-op task, no MQTT (bar: 1.3)",
    TASKIQ_NOOP: "taskiq, no-op task, no MQTT (bar: 1.3)",
    HUEY_NOOP: "Huey, no-op task, no MQTT (bar: 1)",
    ARQ_NOOP: "arq, no-op task, no MQTT",
    RQ_NOOP: "stock RQ, no-op task, no MQTT",
    BARE: "bare Hamilton, nothing around it",
}


def table(results: Results) -> Iterator[str]:
    """Yield lines: medians, with the range over the rounds in brackets."""
    yield from _ratios(results)
    yield from _rates(results)
    yield from _idle(results)
    yield from _cpu(results)
    yield from _memory(results)
    yield from _starts(results)


def _ratios(results: Results) -> Iterator[str]:
    yield "RUNS/S OF FPBUS, END TO END, DIVIDED BY THOSE OF"
    for other, what in _RATIOS.items():
        if ratio := results.ratio(FPBUS, other):
            yield f"  {what:<48} {_show(ratio, 2)}"
    yield ""


def _rates(results: Results) -> Iterator[str]:
    yield f"{'MQTT TO MQTT':<34} {'RUNS/S':<24} {'IDLE P50 MS':<20} IDLE P99 MS"
    yield from _rate_lines(results, FPBUS, RQ, RQ_FORKING, FLOWERPOWER)
    yield f"{'TASKS THAT DO NOTHING, NO MQTT':<34} {'TASKS/S':<24} {'IDLE P50 MS':<20} IDLE P99 MS"
    yield from _rate_lines(results, RQ_NOOP, CELERY_NOOP, DRAMATIQ_NOOP, TASKIQ_NOOP, HUEY_NOOP, ARQ_NOOP)
    if rate := results.figure(BARE, "per_s"):
        yield f"{'BARE':<34} {'PER S':<24} {'IDLE P50 US':<20} IDLE P99 US"
        for name in results.names(BARE, "p50_us "):
            shown = _show(rate, 0) if name == "Hamilton" else ""
            p50, p99 = (results.figure(BARE, f"{quantile} {name}") for quantile in ("p50_us", "p99_us"))
            yield f"  {name:<32} {shown:<24} {_show(p50, 0):<20} {_show(p99, 0)}"
    yield ""


def _rate_lines(results: Results, *variants: str) -> Iterator[str]:
    for variant in variants:
        if rate := results.figure(variant, "per_s"):
            p50, p99 = (results.figure(variant, name) for name in ("idle_p50_ms", "idle_p99_ms"))
            yield f"  {variant:<32} {_show(rate, 0):<24} {_show(p50, 2):<20} {_show(p99, 2)}"


def _idle(results: Results) -> Iterator[str]:
    yield "THE WAY OF ONE RUN THROUGH AN IDLE FPBUS, US (median run)"
    for name in results.names(FPBUS, "hop_us "):
        yield f"  {name:<34} {_show(results.figure(FPBUS, f'hop_us {name}'), 0)}"
    if floor := results.figure(BARE, "floor_us"):
        hops = ", ".join(f"{times} x {name}" for name, times in FLOOR.items())
        yield f"  {'bare hops alone':<34} {_show(floor, 0)}  ({hops})"
    yield ""


def _cpu(results: Results) -> Iterator[str]:
    yield "CPU PER RUN AT LOAD, US"
    for variant in (FPBUS, RQ, RQ_FORKING):
        names = results.names(variant, "cpu_us ")
        for name in names:
            yield f"  {variant + ': ' + name:<42} {_show(results.figure(variant, f'cpu_us {name}'), 0)}"
        used = [results.figure(variant, f"cpu_us {name}") for name in names if name != "driver"]
        if total := sum(one.median for one in used if one is not None):
            yield f"  {variant + ': all but the driver':<42} {total:,.0f}"
    yield ""


def _memory(results: Results) -> Iterator[str]:
    yield f"{'MEMORY, MB (bar: 80 resident, idle)':<36} {'RESIDENT':<18} {'PSS':<18} {'AFTER LOAD':<18} PSS"
    for name in results.names(FPBUS, "rss_mb "):
        shown = [_show(results.figure(FPBUS, f"{kind} {name}"), 0) for kind in _MEMORY]
        yield f"  {name:<34} " + " ".join(f"{one:<18}" for one in shown).rstrip()
    yield ""


_MEMORY = ("rss_mb", "pss_mb", "rss_after_mb", "pss_after_mb")


def _starts(results: Results) -> Iterator[str]:
    yield "STARTS, S"
    for name, what in (
        ("up_s", "`fpbus up` until ready (bar: 4)"),
        ("help_s", "`fpbus --help` (bar: 0.3)"),
        ("bare_python_s", "`python -c pass`"),
    ):
        yield f"  {what:<34} {_show(results.figure(STARTS, name), 3)}"
    if engines := results.figure(STARTS, "cli_engines"):
        modules = _show(results.figure(STARTS, "cli_modules"), 0)
        yield f"  {'modules that the CLI imports':<34} {modules}, engines among them: {engines.high:.0f}"


def _show(figure: Spread | None, digits: int) -> str:
    """Write `median (low-high)`; the brackets are left out where they would say the same."""
    if figure is None:
        return "-"
    median, low, high = (f"{value:,.{digits}f}" for value in figure)
    return median if low == high else f"{median} ({low}-{high})"
