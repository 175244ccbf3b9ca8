"""Layered drawing, first half: which layer each node is in, and in which order.

The method of Sugiyama, Tagawa and Toda: nodes stand in layers so that all edges point onwards, an edge over several
layers gets a bend in each layer that it passes, and sweeps over the layers put every node near its neighbours, which
undoes crossings. Two choices of our own: all long edges out of one node share their bends, so an input that half of
the pipeline reads is one line with branches; and the nodes of a group stay side by side within a layer.

Written here because the layout libraries were either left alone for years, need `dot`, know no sizes of nodes, or take
half a minute for 1,000 nodes. Nothing is random: the same DAG gets the same layers.
"""

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

import msgspec

_SWEEPS: Final = 24
_MAX_PLACES_TO_SWAP: Final = 600


class Layers(msgspec.Struct, frozen=True):
    """Numbered places in layers: the nodes from 0 on, then the bends. `paths` has one for each edge, ends included."""

    rows: list[list[int]]
    paths: list[list[int]]
    before: list[list[int]]
    after: list[list[int]]


def layered(count: int, edges: Sequence[tuple[int, int]], groups: Mapping[int, str]) -> Layers:
    """Arrange nodes 0 to `count` - 1. `groups` names the group of those that are in one."""
    ranks = _ranks(count, edges)
    paths = _paths(edges, ranks)
    links = sorted({link for path in paths for link in pairwise(path)})
    before: list[list[int]] = [[] for _ in ranks]
    after: list[list[int]] = [[] for _ in ranks]
    for source, target in links:
        after[source].append(target)
        before[target].append(source)
    rows = _first_order(ranks, before)
    return Layers(_with_fewest_crossings(rows, before, after, groups), paths, before, after)


def _ranks(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Return each node's layer: as early as possible, but what serves one reader only stands right before it."""
    sources: list[list[int]] = [[] for _ in range(count)]
    targets: list[list[int]] = [[] for _ in range(count)]
    for source, target in edges:
        sources[target].append(source)
        targets[source].append(target)
    ranks = [0] * count
    missing = [len(needed) for needed in sources]
    ready = [node for node in range(count) if not missing[node]]
    # A node can move on at no cost when all that it needs serves only itself, and so can move with it.
    movable: set[int] = set()
    for node in ready:  # grows while we walk: nodes become ready when all that they need is ranked
        if all(source in movable and len(targets[source]) == 1 for source in sources[node]):
            movable.add(node)
        for target in targets[node]:
            ranks[target] = max(ranks[target], ranks[node] + 1)
            missing[target] -= 1
            if not missing[target]:
                ready.append(target)
    for node in reversed(ready):
        if targets[node] and node in movable:
            ranks[node] = min(ranks[target] for target in targets[node]) - 1
    return ranks


def _paths(edges: Sequence[tuple[int, int]], ranks: list[int]) -> list[list[int]]:
    """Return the places that each edge passes; the bends that this needs are added to `ranks`."""
    bends: dict[int, list[int]] = defaultdict(list)
    paths: list[list[int]] = []
    for source, target in edges:
        passed = ranks[target] - ranks[source] - 1
        shared = bends[source]
        while len(shared) < passed:
            shared.append(len(ranks))
            ranks.append(ranks[source] + len(shared))
        paths.append([source, *shared[:passed], target])
    return paths


def _first_order(ranks: list[int], before: list[list[int]]) -> list[list[int]]:
    """Walk back from the last layer, so that whatever feeds the same node starts out side by side."""
    rows: list[list[int]] = [[] for _ in range(max(ranks, default=-1) + 1)]
    seen: set[int] = set()
    for start in sorted(range(len(ranks)), key=lambda place: -ranks[place]):
        waiting = [start]
        while waiting:
            place = waiting.pop()
            if place not in seen:
                seen.add(place)
                rows[ranks[place]].append(place)
                waiting += reversed(before[place])
    return rows


def _with_fewest_crossings(
    rows: list[list[int]], before: list[list[int]], after: list[list[int]], groups: Mapping[int, str]
) -> list[list[int]]:
    swaps = len(before) <= _MAX_PLACES_TO_SWAP
    best, fewest = rows, None
    for sweep in range(_SWEEPS):
        rows = _swept(rows, after if sweep % 2 else before, groups, backwards=bool(sweep % 2))
        if swaps:
            rows = _swapped(rows, before, after, groups)
        crossings = _crossings(rows, after)
        if fewest is None or crossings < fewest:
            best, fewest = rows, crossings
        if not fewest:
            break
    return best


def _swept(
    rows: list[list[int]], neighbours: list[list[int]], groups: Mapping[int, str], *, backwards: bool
) -> list[list[int]]:
    """Sort each layer by the mean position of each place's neighbours in the layer that was sorted just before."""
    positions = {place: index for row in rows for index, place in enumerate(row)}
    done = []
    for row in reversed(rows) if backwards else rows:
        means = {place: _mean([positions[other] for other in neighbours[place]], positions[place]) for place in row}
        done.append(_sorted_by_groups(row, means, groups))
        positions.update((place, index) for index, place in enumerate(done[-1]))
    return done[::-1] if backwards else done


def _sorted_by_groups(row: list[int], means: Mapping[int, float], groups: Mapping[int, str]) -> list[int]:
    members: dict[str, list[float]] = defaultdict(list)
    for place in row:
        if place in groups:
            members[groups[place]].append(means[place])

    def key(place: int) -> tuple[float, str, float]:
        group = groups.get(place, "")
        return (_mean(members[group], 0) if group else means[place], group, means[place])

    return sorted(row, key=key)


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _swapped(
    rows: list[list[int]], before: list[list[int]], after: list[list[int]], groups: Mapping[int, str]
) -> list[list[int]]:
    """Swap neighbours in a layer where that alone saves crossings; the mean does not see those."""
    positions = {place: index for row in rows for index, place in enumerate(row)}
    rows = [list(row) for row in rows]
    for row in rows:
        for index in range(len(row) - 1):
            left, right = row[index], row[index + 1]
            if groups.get(left) == groups.get(right) and _saves(left, right, before, after, positions):
                row[index], row[index + 1] = right, left
                positions[left], positions[right] = index + 1, index
    return rows


def _saves(
    left: int, right: int, before: list[list[int]], after: list[list[int]], positions: Mapping[int, int]
) -> bool:
    saved = 0
    for neighbours in (before, after):
        lefts = [positions[place] for place in neighbours[left]]
        rights = [positions[place] for place in neighbours[right]]
        saved += sum((a > b) - (a < b) for a in lefts for b in rights)
    return saved > 0


def _crossings(rows: list[list[int]], after: list[list[int]]) -> int:
    positions = {place: index for row in rows for index, place in enumerate(row)}
    crossings = 0
    for row in rows:
        passed: list[int] = []
        for place in row:
            ends = sorted(positions[target] for target in after[place])
            crossings += sum(len(passed) - bisect_right(passed, end) for end in ends)
            for end in ends:
                insort(passed, end)
    return crossings
