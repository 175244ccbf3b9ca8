"""Find what is wrong with a pipeline's code and with the names that its configuration uses, without running it."""

import difflib
import fnmatch
import importlib.util
import inspect
import re
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from fpbus.project import CONFIG, MODULES, PIPELINES, Fault, find_faults, load_pipeline
from fpbus.project.yaml_reader import Key, read_yaml
from fpbus.schemas import FORMATS, ExecutorConfig, FpbusError, PipelineConfig
from fpbus.triggers import ProjectCodecs

from .adapters import lacking_extra
from .drawing import DagView, NodeKind
from .graph import Graph
from .hook_modules import import_hooks
from .hook_search import find_hooks
from .hooks import marks_of
from .project import Project
from .summary import look_at

_GIVEN: Final = frozenset({NodeKind.INPUT, NodeKind.CONFIG})
_PLACE: Final = re.compile(r"(?P<file>/.+?\.yml):(?P<line>\d+): ")
_EXECUTING: Final = frozenset({"ray", "future"})
_MODULES_OF: Final = {"ray": "ray", "dask": "distributed"}


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that is wrong, or with `warning` something that is odd. `file` is relative to the project."""

    file: str
    line: int | None = None
    key: str | None = None
    message: str
    hint: str | None = None
    warning: bool = False


def in_files(folder: Path, name: str | None = None) -> list[Finding]:
    """Read the project's file and the pipelines', or only that of `name`; say all that is wrong in them."""
    return [_of_fault(fault, folder) for fault in find_faults(folder, name)]


def _of_fault(fault: Fault, folder: Path) -> Finding:
    file, line, message = fault.file, fault.line, fault.message
    if place := _PLACE.match(message):  # what is wrong only when all files are laid over each other says so itself
        file, line, message = place["file"], int(place["line"]), message[place.end() :]
    return Finding(file=_relative(file, folder), line=line, key=fault.key or None, message=message, hint=fault.hint)


def check_pipeline(project: Project, name: str) -> list[Finding]:
    """Import a pipeline and its hooks, build its DAG, and look up the names that its configuration uses."""
    places = Places(project.folder, name)
    if found := [*_hooks(project, name, load_pipeline(project.folder, name), places)]:
        return found  # without its hooks a pipeline is not imported
    try:
        graph = project.graph(name)
        view = look_at(graph)
    except FpbusError as error:
        return [_of_error(error, project.folder, MODULES / f"{name}.py")]
    return [
        *_names(graph.config, view, places),
        *_followers(graph.config, project.pipelines, places),
        *_codecs(graph.config, project.folder, places),
        *_adapters(graph, places),
        *_executor(graph, places),
    ]


def check_hooks(project: Project) -> list[Finding]:
    """Tell of hooks that are for pipelines which are not there; one that cannot be imported is told elsewhere."""
    known = project.pipelines
    try:
        modules = [
            module for name in known[:1] for module in import_hooks(project.folder, project.config.hooks_dir, name)
        ]
    except FpbusError:
        return []
    functions = [function for module in modules for function in vars(module).values()]
    return [
        _of_stray_hook(function, name, project)
        for function in functions
        for name in {name for mark in marks_of(function) for name in mark.pipelines}
        if not fnmatch.filter(known, name)
    ]


def _of_stray_hook(function: Any, name: str, project: Project) -> Finding:
    code = inspect.unwrap(function).__code__
    return Finding(
        file=_relative(code.co_filename, project.folder),
        line=code.co_firstlineno,
        message=f"{function.__name__} is a hook of {name!r}, and there is no such pipeline.",
        hint=_guess(name, set(project.pipelines)),
        warning=True,
    )


class Places:
    """Where a key of a pipeline's configuration stands: in its own file, or in the project's below it."""

    def __init__(self, folder: Path, pipeline: str) -> None:
        own = PIPELINES / f"{pipeline}.yml"
        self._documents = {own: read_yaml(folder / own), CONFIG: read_yaml(folder / CONFIG)}

    def finding(self, key: Key, message: str, hint: str | None = None, *, warning: bool = False) -> Finding:
        file = next((file for file, document in self._documents.items() if key in document.lines), None)
        file = file or next(iter(self._documents))
        return Finding(
            file=str(file),
            line=self._documents[file].line_of(key),
            key=".".join(key),
            message=message,
            hint=hint,
            warning=warning,
        )


def _codecs(config: PipelineConfig, folder: Path, places: Places) -> Iterator[Finding]:
    """Tell of triggers whose codec cannot be imported: each of their messages would be rejected."""
    codecs = ProjectCodecs(folder)
    for place, trigger in enumerate(config.triggers):
        if trigger.format not in FORMATS:
            try:
                codecs.find(trigger.format)
            except Exception as error:
                message = f"The codec {trigger.format} cannot be imported: {type(error).__name__}: {error}"
                yield places.finding(("triggers", str(place), "format"), message)


def _adapters(graph: Graph, places: Places) -> Iterator[Finding]:
    """Tell of adapters without their package, and make those that only listen, which call nobody before a run."""
    for name, on in graph.config.run.with_adapter.items():
        if on and (extra := lacking_extra(name)) is not None:
            message = f"the adapter {name!r} is on, and its package is not installed on this machine."
            key = ("run", "with_adapter", name)
            yield places.finding(
                key, message, f"Install it: pip install 'fpbus[{extra}]'", warning=name not in _EXECUTING
            )
    listening = {name: on for name, on in graph.config.run.with_adapter.items() if name not in _EXECUTING}
    run = msgspec.structs.replace(graph.config.run, with_adapter=listening, executor=ExecutorConfig(), cache=False)
    try:
        graph.driver(run).close()
    except FpbusError as error:
        yield places.finding(("run", "with_adapter"), str(error), error.hint)


def _executor(graph: Graph, places: Places) -> Iterator[Finding]:
    kind = graph.config.run.executor.type
    if kind in _MODULES_OF and importlib.util.find_spec(_MODULES_OF[kind]) is None:
        message = f"the executor {kind!r} is not installed on this machine."
        yield places.finding(("run", "executor"), message, f"Install it: pip install 'fpbus[{kind}]'")


def _hooks(project: Project, name: str, config: PipelineConfig, places: Places) -> Iterator[Finding]:
    """Look at the hooks folder, and then at each hook that a configuration names."""
    find = partial(find_hooks, project.folder, project.config.hooks_dir, name)
    try:
        find([])
    except FpbusError as error:
        yield _of_error(error, project.folder, Path(project.config.hooks_dir))
        return
    for hook in config.hooks:
        try:
            find([hook])
        except FpbusError as error:
            yield places.finding(("hooks",), str(error), error.hint)


def _of_error(error: FpbusError, folder: Path, usual: Path) -> Finding:
    """Say what an error says, with the last place in the project that it came through."""
    file, line = _place(error.__cause__, folder) or (usual, None)
    message = str(error).replace(f"{folder}/", "")
    return Finding(file=str(file), line=line, message=message, hint=error.hint)


def _place(cause: BaseException | None, folder: Path) -> tuple[Path, int | None] | None:
    if cause is None:
        return None
    if isinstance(cause, SyntaxError) and cause.filename and Path(cause.filename).is_relative_to(folder):
        return Path(cause.filename).relative_to(folder), cause.lineno
    frames = [frame for frame in traceback.extract_tb(cause.__traceback__) if _is_own(frame.filename, folder)]
    return (Path(frames[-1].filename).relative_to(folder), frames[-1].lineno) if frames else None


def _is_own(filename: str, folder: Path) -> bool:
    return Path(filename).is_relative_to(folder) and "site-packages" not in Path(filename).parts


def _names(config: PipelineConfig, view: DagView, places: Places) -> Iterator[Finding]:
    """Tell of names that the DAG has not: outputs and cached nodes that cannot be, and values that nobody asks for."""
    nodes = {node.name for node in view.nodes if node.kind not in _GIVEN}
    known = {node.name for node in view.nodes}
    for key, name in _nodes_named(config):
        if name not in (known if key[1] == "final_vars" else nodes):
            yield places.finding(key, f"there is no node {name!r}.", _guess(name, nodes))
    for section, values in ((("run", "inputs"), config.run.inputs), (("params",), config.params)):
        for name in values:
            if name not in known and name not in config.run.config:
                message = f"no function asks for {name!r}."
                yield places.finding((*section, name), message, _guess(name, known - nodes), warning=True)


def _followers(config: PipelineConfig, known: list[str], places: Places) -> Iterator[Finding]:
    """Tell of pipelines that are to run next, and are not there."""
    for key in ("on_success", "on_failure"):
        for number, each in enumerate(getattr(config, key)):
            name, where = (each, ()) if isinstance(each, str) else (each.pipeline, ("pipeline",))
            if name not in known:
                message = f"there is no pipeline {name!r}."
                yield places.finding((key, str(number), *where), message, _guess(name, set(known)))


def _nodes_named(config: PipelineConfig) -> Iterator[tuple[Key, str]]:
    """Yield the names of nodes in a configuration, with the keys that they stand at."""
    lists: dict[Key, Any] = {("run", "final_vars"): config.run.final_vars}
    if not isinstance(config.run.cache, bool):
        lists |= {("run", "cache", key): value for key, value in msgspec.structs.asdict(config.run.cache).items()}
    for key, names in lists.items():
        for number, name in enumerate(names if isinstance(names, list) else ()):
            yield (*key, str(number)), name


def _relative(file: str, folder: Path) -> str:
    return str(Path(file).relative_to(folder)) if Path(file).is_relative_to(folder) else file


def _guess(name: str, known: set[str]) -> str | None:
    close = difflib.get_close_matches(name, known, 1)
    return f"Did you mean {close[0]!r}?" if close else None
