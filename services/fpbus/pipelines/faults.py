"""What is wrong with a DAG or its inputs, in a sentence of ours: Hamilton's are walls of text, and show values."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final

from .inputs import passes, type_name

_REWORDED: Final = (
    (
        r"Missing type hint for return value in function (?P<node>[^ ]+?)\.?$",
        "the function {node!r} does not say what it returns. Add a return hint, as `def {node}(...) -> dict:`",
    ),
    (
        r"Missing type hint for (?P<argument>\S+) in function (?P<node>[^ ]+?)\. Please",
        "the argument {argument!r} of the function {node!r} has no type. Add a hint, as `{argument}: int`",
    ),
    (
        r"Error: (?P<node>\S+) is expecting (?P<argument>\w+):(?P<wanted>.+?), but found \w+:(?P<found>.+?)\. ?\n",
        "the function {node!r} wants {argument!r} to be {wanted}, but the function {argument!r} returns {found}",
    ),
    (
        (
            r"Two or more functions are requesting (?P<input>\w+), but have incompatible types\. (?P<node>\S+) "
            r"requires \w+ to be (?P<wanted>.+?), but found another function\(s\) \[(?P<others>.*?)\] that "
            r"minimally require \w+ as (?P<found>.+?)\. Please"
        ),
        "the input {input!r} is to be {wanted} in {node!r}, but {found} in {others}",
    ),
    (
        r"Cannot define function (?P<node>\S+) more than once",
        "there are two nodes {node!r}. Every node needs a name of its own",
    ),
)


def fault_of(error: Exception) -> str:
    """Return what Hamilton found wrong with the functions of a DAG, without a full stop."""
    text = str(error)
    for pattern, sentence in _REWORDED:
        if match := re.search(pattern, text):
            return sentence.format(**{name: legible(part) for name, part in match.groupdict().items()})
    first = text.strip().partition("\n")[0].partition(" If you believe")[0].removeprefix("Error: ")
    return legible(first).rstrip(". ") or type(error).__name__


def find_cycle(nodes: Iterable[Any]) -> list[str] | None:
    """Return the names along a circle of nodes, the first of them twice; None where there is none."""
    try:
        TopologicalSorter({node.name: [before.name for before in node.dependencies] for node in nodes}).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        return circle
    return None


def input_fault(
    graph: Any, final_vars: Sequence[str], inputs: Mapping[str, Any], misfits: Mapping[str, str]
) -> str | None:
    """Return what keeps a DAG from being run at all: an unknown output, an input that is missing or of a wrong type.

    `misfits` says of inputs that they do not fit, whether they are needed or not. Values are not shown: they may be
    secrets.
    """
    if unknown := [name for name in final_vars if name not in graph.nodes and name not in inputs]:
        known = guess(unknown[0], graph.nodes) if graph.nodes else "The pipeline's module defines no functions."
        return f"There is no node {unknown[0]!r}. {known}"
    needed, outside = graph.get_upstream_nodes(list(final_vars), dict(inputs), {})
    given = {**graph.config, **inputs}
    faults = [
        misfits.get(node.name) or _fault_of_input(node, given, needed)
        for node in sorted(outside, key=lambda node: str(node.name))
    ]
    return " ".join(fault for fault in faults if fault) or None


def missing_inputs(graph: Any, final_vars: Sequence[str], inputs: Mapping[str, Any]) -> list[str]:
    """Return the names of the inputs without which these outputs cannot be computed; none for an unknown output."""
    if any(name not in graph.nodes for name in final_vars):
        return []
    needed, outside = graph.get_upstream_nodes(list(final_vars), dict(inputs), {})
    given = {**graph.config, **inputs}
    return sorted(node.name for node in outside if node.name not in given and _takers(node, needed))


def needed_inputs(graph: Any, final_vars: Sequence[str], inputs: Mapping[str, Any]) -> set[str]:
    """Return the names of the inputs that these outputs are computed from; none for an unknown output."""
    if any(name not in graph.nodes for name in final_vars):
        return set()
    return {node.name for node in graph.get_upstream_nodes(list(final_vars), dict(inputs), {})[1]}


def guess(name: str, known: Iterable[str]) -> str:
    """Say which of the known names may be meant."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, 1)
    few = ", ".join(names) if len(names) <= _FEW else f"{', '.join(names[:_FEW])} and {len(names) - _FEW} more"
    return f"Did you mean {close[0]!r}?" if close else f"There are: {few or 'none'}."


def _fault_of_input(node: Any, given: Mapping[str, Any], needed: Any) -> str | None:
    if node.name not in given:
        takers = _takers(node, needed)
        return f"The input {node.name!r} is missing; {_and(takers)} {_NEEDS[len(takers) > 1]} it." if takers else None
    value = given[node.name]
    if value is None or passes(node.type, value):
        return None
    return f"The input {node.name!r} is of type {type(value).__name__}; it must be {type_name(node.type)}."


def _takers(node: Any, needed: Any) -> list[str]:
    """Return the names of the nodes that cannot do without this input."""
    return sorted(taker.name for taker in node.depended_on_by if taker in needed and _requires(taker, node.name))


def _requires(node: Any, name: str) -> bool:
    kind = node.input_types.get(name)
    return kind is not None and kind[1].name == "REQUIRED"


def legible(text: str) -> str:
    """Turn `<class 'int'>` and `<function a at 0x7f>` into names."""
    return re.sub(r"<(?:class|function) '?([^'> ]+)'?(?: at 0x[0-9a-f]+)?>", r"\1", text).replace("typing.", "")


def _and(names: Sequence[str]) -> str:
    quoted = [repr(name) for name in names[:_FEW]]
    if len(names) > _FEW:
        quoted.append("others")
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


_FEW: Final = 8
_NEEDS: Final = ("needs", "need")
