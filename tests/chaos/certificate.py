"""The delivery certificate: one line for each scenario, over all its seeds."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from chaos.results import Row
from chaos.scenario import Scenario

FILE: Final = Path(__file__).parent / "certificate.md"

_HEAD: Final = (
    "| what is done, and what must be true | seeds | runs | lost | stuck | ghost | twice | left over | recovered | "
    "recovery p50 / p95 / max | kept |"
)


def certificate(rows: Iterable[Row], scenarios: Sequence[Scenario]) -> str:
    """Return the table as Markdown, for the rows that there are."""
    return "\n".join([*_lines(list(rows), scenarios), ""])


def _lines(rows: list[Row], scenarios: Sequence[Scenario]) -> Iterator[str]:
    yield _HEAD
    yield "|---|" + "---:|" * 9 + "---|"
    for scenario in scenarios:
        of_it = sorted((row for row in rows if row.scenario == scenario.name), key=lambda row: row.seed)
        if of_it:
            yield _line(scenario, of_it)
    if rows:
        yield ""
        yield from _about(rows)


def _line(scenario: Scenario, rows: Sequence[Row]) -> str:
    tallies = [row.outcome.tally for row in rows]
    counts = ("asked", "lost", "stuck", "ghost", "duplicate", "left_over", "recovered")
    sums = [f"{sum(getattr(tally, name) for tally in tallies):,}" for name in counts]
    kept = sum(row.outcome.kept for row in rows)
    cells = [scenario.promise, str(len(rows)), *sums, _recovery(rows), f"{kept} of {len(rows)}"]
    return f"| {' | '.join(cells)} |"


def _recovery(rows: Sequence[Row]) -> str:
    """Write the worst of each figure over the seeds."""
    worst: list[str] = []
    for name in ("recovery_p50_s", "recovery_p95_s", "recovery_max_s"):
        found = [value for row in rows if (value := getattr(row.outcome.tally, name)) is not None]
        if not found:
            return ""
        worst.append(f"{max(found):.1f}")
    return f"{' / '.join(worst)} s"


def _about(rows: Sequence[Row]) -> Iterator[str]:
    first, last = min(row.at for row in rows), max(row.at for row in rows)
    machines = ", ".join(sorted({row.machine for row in rows}))
    broken = [(row, sentence) for row in rows for sentence in row.outcome.broken]
    yield f"Measured from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC on {machines}."
    yield "Over several seeds counts are sums, and recovery times the worst of all."
    for row, sentence in broken:
        yield f"Not kept: {row.scenario}, seed {row.seed}: {sentence}."
