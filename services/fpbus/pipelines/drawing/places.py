"""Layered drawing, second half: where along its layer each place stands.

Within a layer every place wants to be at the mean of its neighbours, but may not touch the next one. Moving a layer's
places to where the sum of squares is least, without changing their order, is isotonic regression, which the
"pool adjacent violators" algorithm solves exactly in one pass; some sweeps over the layers settle the whole.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from math import inf
from typing import Final

from .layers import Layers

_DIRECTED_SWEEPS: Final = 8
_SWEEPS: Final = 24

# How strongly a link pulls its ends into line, by the number of bends at its ends: long edges that run straight are
# the easiest to follow.
_PULL: Final = (1.0, 1.0, 8.0)


def centres(layers: Layers, breadths: Sequence[float], gap: float) -> list[float]:
    """Return the middle of each place along its layer. `breadths` are of the nodes; bends need half a gap only."""
    nodes = len(breadths)
    sizes = [*breadths, *(0.0 for _ in range(len(layers.before) - nodes))]
    gaps = [_distances(row, sizes, gap, nodes) for row in layers.rows]
    middles = [0.0] * len(sizes)
    for row, distances in zip(layers.rows, gaps, strict=True):
        for place, middle in zip(row, accumulate(distances, initial=-sum(distances) / 2), strict=True):
            middles[place] = middle
    links = _links(layers, nodes)
    for sweep in range(_SWEEPS):
        order = range(len(layers.rows)) if sweep % 2 else range(len(layers.rows) - 1, -1, -1)
        # First each layer follows the one before it in the sweep; at last all look both ways.
        sides = (0, 1) if sweep >= _DIRECTED_SWEEPS else (0,) if sweep % 2 else (1,)
        for index in order:
            _settle(layers.rows[index], gaps[index], [links[side] for side in sides], middles)
    _straighten(layers, gaps, nodes, middles)
    return middles


def _distances(row: Sequence[int], sizes: Sequence[float], gap: float, nodes: int) -> list[float]:
    return [
        (sizes[left] + sizes[right]) / 2 + (gap if max(left, right) < nodes else gap / 2)
        for left, right in pairwise(row)
    ]


def _links(layers: Layers, nodes: int) -> tuple[list[list[tuple[int, float]]], list[list[tuple[int, float]]]]:
    """Return each place's neighbours in the layers before and after, with the pull of each."""

    def pulls(place: int, others: list[int]) -> list[tuple[int, float]]:
        return [(other, _PULL[(place >= nodes) + (other >= nodes)]) for other in others]

    return (
        [pulls(place, others) for place, others in enumerate(layers.before)],
        [pulls(place, others) for place, others in enumerate(layers.after)],
    )


def _settle(
    row: Sequence[int],
    distances: Sequence[float],
    sides: Sequence[Sequence[Sequence[tuple[int, float]]]],
    middles: list[float],
) -> None:
    """Move one layer's places to the mean of their neighbours, as far as their order and distances allow."""
    offsets = list(accumulate(distances, initial=0.0))
    blocks: list[tuple[float, float, int]] = []  # mean, weight and number of places that stand at their least distance
    for place, offset in zip(row, offsets, strict=True):
        linked = [link for side in sides for link in side[place]]
        weight = sum(pull for _, pull in linked) or 0.01
        wish = sum(middles[other] * pull for other, pull in linked) / weight if linked else middles[place]
        mean, many = wish - offset, 1
        while blocks and blocks[-1][0] > mean:
            other, others_weight, others_many = blocks.pop()
            mean = (mean * weight + other * others_weight) / (weight + others_weight)
            weight, many = weight + others_weight, many + others_many
        blocks.append((mean, weight, many))
    settled = (mean for mean, _, many in blocks for _ in range(many))
    for place, offset, mean in zip(row, offsets, settled, strict=True):
        middles[place] = mean + offset


def _straighten(layers: Layers, gaps: Sequence[Sequence[float]], nodes: int, middles: list[float]) -> None:
    """Put the bends of a long edge in one line, as many in a row as their neighbours in the layers allow."""
    beside = {
        place: (row[index - 1] if index else None, row[index + 1] if index + 1 < len(row) else None, index, distances)
        for row, distances in zip(layers.rows, gaps, strict=True)
        for index, place in enumerate(row)
        if place >= nodes
    }

    def room(place: int) -> tuple[float, float]:
        left, right, index, distances = beside[place]
        return (
            -inf if left is None else middles[left] + distances[index - 1],
            inf if right is None else middles[right] - distances[index],
        )

    for run in _runs(layers):
        waiting = run
        while waiting:
            low, high, line = -inf, inf, 0
            for place in waiting:
                least, most = room(place)
                if max(low, least) > min(high, most) + 1e-9:
                    break
                low, high, line = max(low, least), min(high, most), line + 1
            together, waiting = waiting[:line], waiting[line:]
            middle = min(max(sum(middles[place] for place in together) / line, low), high)
            for place in together:
                middles[place] = middle


def _runs(layers: Layers) -> list[list[int]]:
    """Return the bends of each node's long edges, in their order."""
    longest: dict[int, list[int]] = {}
    for source, *bends, _ in layers.paths:
        if len(bends) > len(longest.get(source, ())):
            longest[source] = bends
    return list(longest.values())
