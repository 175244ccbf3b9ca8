"""`make bench`: fpbus beside bare Hamilton, stock RQ and other queues, on this machine, now.

Every round measures every variant once, each with servers of its own, so that noise meets all of them; ratios are
taken within a round. The rows go to `results/<date>.jsonl`, a picture to `docs/speed.svg`, the table to standard
output.
"""

import argparse
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

sys.path[0] = str(Path(__file__).parents[1])  # `bench` and `support` are found where pytest finds them
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program has its bytecode

from bench import footprint, fpbus_path, hops, noop, peer_noop, peer_path, table  # noqa: E402
from bench.figures import Figures, Results, Row  # noqa: E402
from bench.machine import facts  # noqa: E402
from bench.picture import picture  # noqa: E402
from bench.place import Place, deadline, fresh_place  # noqa: E402

VARIANT_WITHIN_S = 300

Measure = Callable[[Place], Figures]


def main() -> None:
    arguments = _arguments()
    about, results = facts(), Results()
    for number in range(1, arguments.rounds + 1):
        for variant, measure in _variants(arguments.runs, arguments.idle, arguments.slow_runs).items():
            load = os.getloadavg()[0]
            with deadline(VARIANT_WITHIN_S), fresh_place() as place:
                row = Row(variant=variant, round=number, load=round(load, 2), figures=measure(place))
            results.rows.append(row)
            print(f"round {number}: {variant} (load {load:.1f})", file=sys.stderr)
    _report(about, arguments, results)


def _variants(runs: int, idle: int, slow_runs: int) -> dict[str, Measure]:
    return {
        table.FPBUS: lambda place: fpbus_path.measure(place, runs, idle),
        table.RQ: lambda place: peer_path.measure_rq(place, "simple", runs, idle),
        table.CELERY_NOOP: lambda place: noop.measure_celery(place, runs, idle),
        table.RQ_NOOP: lambda place: noop.measure_rq(place, runs, idle),
        table.DRAMATIQ_NOOP: lambda place: peer_noop.measure(place, "on_dramatiq", runs, idle),
        table.TASKIQ_NOOP: lambda place: peer_noop.measure(place, "on_taskiq", runs, idle),
        table.HUEY_NOOP: lambda place: peer_noop.measure(place, "on_huey", runs, idle),
        table.ARQ_NOOP: lambda place: peer_noop.measure(place, "on_arq", runs, idle),
        table.BARE: lambda place: hops.measure(place, runs, idle),
        table.RQ_FORKING: lambda place: peer_path.measure_rq(place, "forking", slow_runs, slow_runs),
        table.FLOWERPOWER: lambda place: peer_path.measure_flowerpower(place, slow_runs, slow_runs),
        table.STARTS: lambda place: footprint.measure(place.folder),
    }


def _report(about: dict[str, str], arguments: argparse.Namespace, results: Results) -> None:
    loads = [row.load for row in results.rows]
    now = datetime.now(UTC)
    print(f"{now:%Y-%m-%d %H:%MZ}; {', '.join(f'{name} {value}' for name, value in about.items())}")
    print(f"{arguments.rounds} rounds of {arguments.runs} runs, load average {min(loads)} to {max(loads)}\n")
    print("\n".join(table.table(results)))
    file = Path(__file__).parent / "results" / f"{now:%Y-%m-%d}.jsonl"
    file.parent.mkdir(exist_ok=True)
    (Path(__file__).parents[2] / "docs" / "speed.svg").write_text(picture(results), encoding="utf-8")
    with file.open("ab") as rows:
        for row in results.rows:
            line = {"at": now, "machine": about, "runs": arguments.runs, **msgspec.to_builtins(row)}
            rows.write(msgspec.json.encode(line) + b"\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare fpbus with bare Hamilton, stock RQ and other queues.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=2000, help="runs under load, in each round")
    parser.add_argument("--quick", action="store_true", help="one short round: does it work, and roughly how fast")
    arguments = parser.parse_args()
    arguments.idle, arguments.slow_runs = 100, 100
    if arguments.quick:
        arguments.rounds, arguments.runs, arguments.idle, arguments.slow_runs = 1, 500, 30, 20
    return arguments


if __name__ == "__main__":
    main()
