"""What was measured: numbers by name, and their medians and ranges over the rounds."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

Figures = dict[str, float]
"""Numbers of one measurement; each name ends in its unit, or names a rate `per_s`."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One variant in one round. `load` is the machine's load average just before."""

    variant: str
    round: int
    load: float
    figures: Figures


class Spread(NamedTuple):
    """A figure over the rounds."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that `percent` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[round(percent / 100 * (len(ordered) - 1))]


class Results:
    """The rows of all rounds."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def figure(self, variant: str, name: str) -> Spread | None:
        """Return a figure of a variant over the rounds; None when it was not measured."""
        values = [row.figures[name] for row in self.rows if row.variant == variant and name in row.figures]
        return spread(values) if values else None

    def ratio(self, variant: str, other: str, name: str = "per_s") -> Spread | None:
        """Divide within each round, where both met the same noise, and only then look at the spread."""
        ours, theirs = self._by_round(variant, name), self._by_round(other, name)
        ratios = [ours[number] / theirs[number] for number in ours if number in theirs]
        return spread(ratios) if ratios else None

    def names(self, variant: str, prefix: str) -> list[str]:
        """Return what comes after `prefix` in the names of a variant's figures, in the order of measuring."""
        names = [name for row in self.rows if row.variant == variant for name in row.figures]
        return list(dict.fromkeys(name.removeprefix(prefix) for name in names if name.startswith(prefix)))

    def _by_round(self, variant: str, name: str) -> dict[int, float]:
        return {row.round: row.figures[name] for row in self.rows if row.variant == variant and name in row.figures}
