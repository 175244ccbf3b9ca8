"""A project's configuration, complete: the project's file below, a pipeline's over it, the environment over both."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from fpbus.schemas import PipelineConfig, ProjectConfig, lay

from .environment import overlay, strangers
from .errors import ProjectError, UnknownPipelineError, guess
from .explain import complaints, shown_at
from .faults import Complaint, Fault, FaultError, Key
from .files import CONFIG, PIPELINES, misnamed, misnamed_hint, pipeline_names
from .second_names import clashes, lift, written_as
from .variables import fill_in
from .yaml_reader import Document, read_yaml

#: Adapters that every project has; `adapter.custom` gives names to further ones, and a dotted name is a class.
ADAPTERS: Final = ("hamilton_tracker", "mlflow", "opentelemetry", "progressbar", "ray", "future")

_USERS_OWN: Final = frozenset({"inputs", "config", "params"})

T = TypeVar("T", bound=Struct)


class _File(Struct, frozen=True):
    """What a file says, with its variables filled in, and what is wrong with it by itself."""

    document: Document
    value: dict[str, Any]
    faults: list[Fault]


def load_project(folder: Path) -> ProjectConfig:
    """Read `conf/project.yml`; raise `ProjectError` for the first thing wrong with it.

    FPBUS_STORAGE_URL lies over `storage_url`, which the cache of a run in the foreground needs as well.
    """
    file = _read(folder / CONFIG, ProjectConfig)
    config = _complete([file], file.value, ProjectConfig)
    storage_url = os.environ.get("FPBUS_STORAGE_URL") or config.storage_url
    return msgspec.structs.replace(config, storage_url=storage_url)


def load_pipeline(folder: Path, name: str) -> PipelineConfig:
    """Read one pipeline's configuration; the name is checked before it becomes part of a path."""
    known = pipeline_names(folder)
    if name not in known:
        raise UnknownPipelineError(name, known, misnamed_hint(folder, name))
    return _pipeline(folder, name, _read(folder / CONFIG, ProjectConfig))


def load_pipelines(folder: Path) -> dict[str, PipelineConfig]:
    """Read the configuration of all pipelines, by name."""
    project = _read(folder / CONFIG, ProjectConfig)
    return {name: _pipeline(folder, name, project) for name in pipeline_names(folder)}


def find_faults(folder: Path, name: str | None = None) -> list[Fault]:
    """Return everything that is wrong in the project's file and the pipelines', or in that of `name`."""
    try:
        names = pipeline_names(folder) if name is None else [name]
    except ProjectError as error:
        return [Fault(file=str(folder / PIPELINES), message=str(error), hint=error.hint)]
    project = _look(folder / CONFIG, ProjectConfig)
    found = [*misnamed(folder), *project.faults]
    if not project.faults:
        found += _join([project], project.value, ProjectConfig)[1]
    for each in names:
        file = _look(_path_of(folder, each), PipelineConfig)
        if file.faults or project.faults:
            adapters = _placed([file.document], _unknown_adapters(file.value, project.value))
            found += _in_order([*file.faults, *adapters])
        else:
            found += _join([file, project], _over(project.value, file.value), PipelineConfig)[1]
    return list(dict.fromkeys(found))


def _path_of(folder: Path, name: str) -> Path:
    return folder / PIPELINES / f"{name}.yml"


def _pipeline(folder: Path, name: str, project: _File) -> PipelineConfig:
    file = _read(_path_of(folder, name), PipelineConfig)
    return _complete([file, project], _over(project.value, file.value), PipelineConfig)


def _read(path: Path, kind: type[Struct]) -> _File:
    """Return what a file says, once it is known to be right by itself; raise its first fault else."""
    file = _look(path, kind)
    _raise_first(file.faults)
    return file


def _look(path: Path, kind: type[Struct]) -> _File:
    """Return what a file says and all that is wrong with it; what is no YAML says nothing."""
    try:
        document = read_yaml(path)
    except FaultError as error:
        return _File(Document(path, {}, {}, set()), {}, [error.fault])
    filled, missing = fill_in(document, kind)
    value = _without_nulls(filled)
    if not isinstance(value, dict):
        return _File(document, {}, _placed([document], complaints(value, kind)))
    lifted = lift(value)
    unknown = {key for key, _, _ in missing}
    wrong = [each for each in complaints(lifted, kind) if each[0] not in unknown]
    return _File(document, lifted, _placed([document], [*missing, *clashes(value), *wrong, *_unknown_zones(lifted)]))


def _complete(files: list[_File], value: dict[str, Any], kind: type[T]) -> T:
    whole, faults = _join(files, value, kind)
    _raise_first(faults)
    return msgspec.convert(whole, kind)


def _raise_first(faults: list[Fault]) -> None:
    for fault in faults:
        raise FaultError(fault)


def _join(files: list[_File], value: dict[str, Any], kind: type[Struct]) -> tuple[dict[str, Any], list[Fault]]:
    """Lay the environment over files that are right by themselves; return all, and what is wrong with it."""
    whole, variables = overlay(value, kind)
    documents = [file.document for file in files]
    wrong = [*complaints(whole, kind), *_unknown_zones(whole)]
    named: list[Complaint] = []
    if kind is PipelineConfig:  # which adapters there are is known only now
        named = list(_unknown_adapters(value, whole))
        wrong += [each for each in _unknown_adapters(whole) if each not in named]
    return whole, [*_lost(documents[-1].path), *_placed(documents, named), *_placed(documents, wrong, variables)]


def _lost(path: Path) -> Iterator[Fault]:
    """Yield the variables that lead nowhere; the project's file stands for the environment."""
    for variable, message, hint in strangers():
        yield Fault(file=str(path), message=message, hint=hint, variable=variable)


def _placed(
    documents: list[Document], wrong: Iterable[Complaint], variables: Mapping[Key, str] | None = None
) -> list[Fault]:
    """Say where each complaint comes from: the environment, or the first file that has the key."""
    return _in_order(_place(documents, each, variables or {}) for each in wrong)


def _in_order(faults: Iterable[Fault]) -> list[Fault]:
    return sorted(faults, key=lambda fault: fault.line or 0)


def _place(documents: list[Document], complaint: Complaint, variables: Mapping[Key, str]) -> Fault:
    key, message, hint = complaint
    for path, variable in variables.items():
        if key[: len(path)] == path or (key and path[: len(key)] == key):
            blame = f"The environment variable {variable} cannot be used: {message}"
            file = str(documents[-1].path)
            return Fault(file=file, key=".".join(key), message=blame, hint=hint, variable=variable)
    places = [(document, name) for document in documents for name in written_as(key) if name in document.lines]
    document, name = places[0] if places else (documents[0], key)
    line = document.line_of(name)
    return Fault(file=str(document.path), line=line, key=".".join(key), message=message, hint=hint)


def _unknown_zones(value: Mapping[str, Any]) -> Iterator[Complaint]:
    for section in ((), ("schedule",)):
        zone = _section(value, *section).get("timezone")
        if isinstance(zone, str) and not _is_zone(zone):
            key = (*section, "timezone")
            message = f"`{'.'.join(key)}` is {shown_at(key, zone)}, which is no IANA time zone."
            yield key, message, "Write one such as Europe/Berlin, or UTC."


def _unknown_adapters(value: Mapping[str, Any], below: Mapping[str, Any] | None = None) -> Iterator[Complaint]:
    custom = [*_section(value, "adapter", "custom"), *_section(below or {}, "adapter", "custom")]
    for name in _section(value, "run", "with_adapter"):
        if name not in {*ADAPTERS, *custom} and "." not in name:
            yield (
                ("run", "with_adapter", name),
                f"there is no adapter {name[:80]!r}.",
                guess(name, [*ADAPTERS, *custom]),
            )


def _section(value: Any, *key: str) -> Mapping[str, Any]:
    """Return the section at a key; an empty one where there is none."""
    for part in key:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return False
    return True


def _without_nulls(value: Any) -> Any:
    """Drop keys without a value, which mean the default, as `inputs:` alone on a line does.

    What belongs to the user is left as it is: there null is a value.
    """
    if isinstance(value, dict):
        return {
            key: item if key in _USERS_OWN else _without_nulls(item) for key, item in value.items() if item is not None
        }
    return {} if value is None else value


def _over(below: Mapping[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """Lay a pipeline's file over the sections that the project's file has for all pipelines."""
    merged = dict(value)
    if "run" in below:
        merged["run"] = lay(below["run"], value.get("run", {}))
    if "adapter" in below:
        merged["adapter"] = _deep(below["adapter"], value.get("adapter", {}))
    if "hooks" in below:
        merged["hooks"] = [*below["hooks"], *value.get("hooks", [])]
    return merged


def _deep(below: Any, above: Any) -> Any:
    if isinstance(below, Mapping) and isinstance(above, Mapping):
        return {**below, **{key: _deep(below.get(key), value) for key, value in above.items()}}
    return above
