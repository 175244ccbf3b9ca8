"""`make chaos`: kill, freeze, cut and fill everything, count what came of it, and write the delivery certificate.

What has a row in `results.jsonl` is not done again, so that it can be interrupted at any time.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])  # `chaos` and `support` are found where pytest finds them

from chaos import certificate, results  # noqa: E402
from chaos.place import fresh_place  # noqa: E402
from chaos.results import Row, append, latest, machine, read  # noqa: E402
from chaos.scenario import Outcome, Scenario  # noqa: E402
from chaos.scenarios import all_scenarios  # noqa: E402

LOGS = Path(__file__).parent / "logs"
WITHIN_S = 1200  # no scenario takes so long: one that does waits for what never comes


def main() -> int:
    arguments = _arguments()
    for number in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, _exit)
    scenarios = all_scenarios()
    if arguments.list:
        for scenario in scenarios.values():
            print(f"{scenario.name:<24} {scenario.promise}")
        return 0
    broken = [row for row in _measure(arguments, scenarios) if not row.outcome.kept]
    rows = latest(read(arguments.results)).values()
    table = certificate.certificate(rows, list(scenarios.values()))
    if arguments.results == results.FILE:
        certificate.FILE.write_text(table)
    print(table, end="")
    return 1 if broken else 0


def _measure(arguments: argparse.Namespace, scenarios: dict[str, Scenario]) -> Iterator[Row]:
    """Yield a row for each scenario and seed: every scenario with the first seed, then with the next."""
    first = arguments.seed
    for seed in range(first, first + arguments.seeds):
        for name in arguments.scenario or scenarios:
            known = latest(read(arguments.results)).get((name, seed))
            if known is None or arguments.again:
                known = _do(scenarios[name], seed, short=arguments.short)
                append(known, arguments.results)
            else:
                _say(name, seed, "was done before; --again does it anew")
            yield known


def _do(scenario: Scenario, seed: int, *, short: bool) -> Row:
    load, began = os.getloadavg()[0], time.monotonic()
    signal.alarm(WITHIN_S)
    _say(scenario.name, seed, scenario.promise)
    with fresh_place(
        seed, lambda sentence: _say(scenario.name, seed, sentence), shipped_broker=scenario.shipped_broker
    ) as place:
        outcome: Outcome = scenario.run(place, **(scenario.short if short else scenario.full))
        if not outcome.kept:
            place.keep_logs(LOGS / f"{scenario.name}-{seed}")
    signal.alarm(0)
    row = Row(
        scenario=scenario.name,
        seed=seed,
        at=datetime.now(UTC),
        seconds=round(time.monotonic() - began, 1),
        load=round(load, 2),
        machine=machine(),
        outcome=outcome,
    )
    verdict = "kept" if outcome.kept else f"BROKEN: {', '.join(outcome.broken)} (logs in {LOGS})"
    _say(scenario.name, seed, f"{verdict} in {row.seconds} s; {outcome.tally} {outcome.facts}")
    return row


def _exit(number: int, _frame: object) -> None:
    """Stop what was started, and end."""
    sys.exit(f"ended by {signal.Signals(number).name}")


def _say(name: str, seed: int, sentence: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {name}, seed {seed}: {sentence}", file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Break the system on purpose, and count what was lost.")
    parser.add_argument("--list", action="store_true", help="print the scenarios")
    parser.add_argument("--scenario", action="append", choices=list(all_scenarios()), help="only this one; repeatable")
    parser.add_argument("--seed", type=int, default=1, help="the first seed; default: %(default)s")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds; default: %(default)s")
    parser.add_argument("--again", action="store_true", help="also what has been done already")
    parser.add_argument("--short", action="store_true", help="with the small figures that CI has time for")
    parser.add_argument("--results", type=Path, default=results.FILE, help="where rows are kept; default: %(default)s")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
