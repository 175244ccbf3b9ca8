"""Make a view of a DAG that Hamilton has built, with what its driver tells in public."""

import difflib
import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from hamilton.driver import Driver

from fpbus.schemas import FpbusError

from .view import DagEdge, DagNode, DagView, NodeKind

_MODULES: Final = re.compile(r"\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])")
_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")


class UnknownNodeError(FpbusError):
    """A name that is no node of the DAG."""

    exit_code = 4

    def __init__(self, name: str, known: Iterable[str]) -> None:
        close = difflib.get_close_matches(name, list(known), 1)
        hint = f"Did you mean {close[0]!r}?" if close else "Draw the whole DAG to see its nodes."
        super().__init__(f"No node named {name[:80]!r} in this pipeline.", hint)


def view_of(driver: Driver, title: str, final_vars: Sequence[str] = ()) -> DagView:
    """Return the DAG of `driver`: what `final_vars` need, or all of it when none are named.

    The values of inputs and config entries are left out, because they may be secrets.
    Without `final_vars` the outputs are what no other function needs.
    Raises `UnknownNodeError` for a name in `final_vars` that is no node.
    """
    variables = {variable.name: variable for variable in driver.list_available_variables()}
    edges = _edges(variables)
    wanted = _upstream(final_vars, variables, edges) if final_vars else set(variables)
    kept = tuple(edge for edge in edges if edge.source in wanted and edge.target in wanted)
    used = {edge.source for edge in kept if not _saves(variables[edge.target])}
    outputs = set(final_vars) or wanted - used
    nodes = (_node(variables[name], driver.graph.config, is_output=name in outputs) for name in sorted(wanted))
    return DagView(title=title, nodes=tuple(nodes), edges=kept)


def _edges(variables: Mapping[str, Any]) -> list[DagEdge]:
    """Return all edges, sorted. A config entry points at the functions that `@config` chose by it."""
    optional = {
        (source, name): flag
        for name, variable in variables.items()
        for sources, flag in (
            (_deciding(variable), True),
            (variable.optional_dependencies, True),
            (variable.required_dependencies, False),
        )
        for source in sources
        if source in variables
    }
    return [
        DagEdge(source=source, target=target, optional=optional[source, target]) for source, target in sorted(optional)
    ]


def _deciding(variable: Any) -> list[str]:
    return [key for key in str(variable.tags.get("hamilton.config", "")).split(",") if key]


def _upstream(final_vars: Sequence[str], known: Iterable[str], edges: Iterable[DagEdge]) -> set[str]:
    sources: dict[str, list[str]] = {name: [] for name in known}
    for edge in edges:
        sources[edge.target].append(edge.source)
    wanted: set[str] = set()
    waiting = list(final_vars)
    while waiting:
        name = waiting.pop()
        if name not in sources:
            raise UnknownNodeError(name, sources)
        if name not in wanted:
            wanted.add(name)
            waiting += sources[name]
    return wanted


def _node(variable: Any, config: Mapping[str, Any], *, is_output: bool) -> DagNode:
    kind = _kind(variable, config, is_output=is_output)
    return DagNode(
        name=variable.name,
        kind=kind,
        type=type(config[variable.name]).__name__ if kind is NodeKind.CONFIG else _type_text(variable),
        source="" if variable.is_external_input else _source(variable),
        doc=next(iter((variable.documentation or "").strip().splitlines()), "").strip(),
        tags={key: _tag_text(tag) for key, tag in sorted(variable.tags.items()) if _is_users(key)},
    )


def _kind(variable: Any, config: Mapping[str, Any], *, is_output: bool) -> NodeKind:
    if variable.name in config:
        return NodeKind.CONFIG
    if variable.is_external_input:
        return NodeKind.INPUT
    if _saves(variable) or _loads(variable):
        return NodeKind.MATERIALIZER
    return NodeKind.OUTPUT if is_output else NodeKind.FUNCTION


def _saves(variable: Any) -> bool:
    return bool(variable.tags.get("hamilton.data_saver"))


def _loads(variable: Any) -> bool:
    """Of the two nodes that load something, the one that reads; the other picks the value out of what was read."""
    return bool(variable.tags.get("hamilton.data_loader") and variable.tags.get("hamilton.data_loader.has_metadata"))


def _type_text(variable: Any) -> str:
    """Write a type as people do: `DataFrame`, `dict[str, float]`; for a materializer what it reads or writes."""
    if _saves(variable):
        return f"to {variable.tags['hamilton.data_saver.sink']}"
    if _loads(variable):
        return f"from {variable.tags['hamilton.data_loader.source']}"
    # An object inside a type may print its address, which is another one in every process.
    return _MODULES.sub("", _ADDRESS.sub("", inspect.formatannotation(variable.type)))


def _source(variable: Any) -> str:
    """Name the function that computes a node; in a subdag that is the inner one."""
    functions = variable.originating_functions
    return f"{functions[0].__module__}.{functions[0].__qualname__}" if functions else ""


def _is_users(tag: str) -> bool:
    return tag != "module" and not tag.startswith("hamilton.")


def _tag_text(tag: Any) -> str:
    return ", ".join(map(str, tag)) if isinstance(tag, (list, tuple)) else str(tag)
