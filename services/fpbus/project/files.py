"""Find and read a project's files. Nothing here runs the project's code."""

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import yaml

from fpbus.schemas import FpbusError, PipelineConfig, ProjectConfig, is_pipeline_name

CONFIG: Final = Path("conf/project.yml")
PIPELINES: Final = Path("conf/pipelines")
MODULES: Final = Path("pipelines")

_MAX_YAML_BYTES: Final = 1024 * 1024
_USERS_OWN: Final = frozenset({"inputs", "config", "params"})

T = TypeVar("T")


class ProjectError(FpbusError):
    """A project, or one of its files, is not right."""


class UnknownPipelineError(FpbusError):
    """A name that is no pipeline of the project."""

    exit_code = 4

    def __init__(self, name: str, known: list[str]) -> None:
        close = difflib.get_close_matches(name, known, 1)
        hint = f"Did you mean {close[0]!r}?" if close else f"It has: {', '.join(known) or 'none'}."
        super().__init__(f"No pipeline named {name[:80]!r} in this project.", hint)


def find_project(start: Path) -> Path:
    """Return the folder at or above `start` that holds `conf/project.yml`."""
    for folder in (start, *start.parents):
        if (folder / CONFIG).is_file():
            return folder
    raise ProjectError(f"There is no fpbus project at {start}: {CONFIG} is missing.", "Make one: fpbus init")


def load_project(folder: Path) -> ProjectConfig:
    return _load(folder / CONFIG, ProjectConfig)


def pipeline_names(folder: Path) -> list[str]:
    """Return the names of all pipelines, sorted; a file with an illegal name is an error."""
    names = sorted(path.stem for path in (folder / PIPELINES).glob("*.yml"))
    for name in names:
        if not is_pipeline_name(name):
            raise ProjectError(
                f"{PIPELINES / name}.yml: {name!r} cannot name a pipeline.",
                "Use up to 64 of a-z, 0-9, '_', '-' and '.', the first a letter, a digit or '_'.",
            )
    return names


def load_pipeline(folder: Path, name: str) -> PipelineConfig:
    """Read one pipeline's configuration; the name is checked before it becomes part of a path."""
    known = pipeline_names(folder)
    if name not in known:
        raise UnknownPipelineError(name, known)
    return _load(folder / PIPELINES / f"{name}.yml", PipelineConfig)


def load_pipelines(folder: Path) -> dict[str, PipelineConfig]:
    return {name: _load(folder / PIPELINES / f"{name}.yml", PipelineConfig) for name in pipeline_names(folder)}


def stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Return something that differs when a configuration file or module has changed."""
    return tuple(sorted(_stamps(folder)))


def names_stamp(folder: Path) -> int:
    """Return something that differs when a pipeline's file has come or gone; one look at the folder itself."""
    try:
        return (folder / PIPELINES).stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _stamps(folder: Path) -> Iterator[tuple[str, int, int]]:
    for path in (folder / CONFIG, *(folder / PIPELINES).glob("*.yml"), *(folder / MODULES).rglob("*.py")):
        try:
            state = path.stat()
        except FileNotFoundError:
            continue
        yield str(path), state.st_mtime_ns, state.st_size


def _load(path: Path, kind: type[T]) -> T:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise ProjectError(f"{path} is missing.", "Make a project: fpbus init") from None
    except OSError as error:
        raise ProjectError(f"{path} cannot be read: {error.strerror}.") from error
    if len(text) > _MAX_YAML_BYTES:
        raise ProjectError(f"{path} is larger than {_MAX_YAML_BYTES} bytes.")
    try:
        return msgspec.convert(_plain(yaml.safe_load(text)), kind)
    except yaml.YAMLError as error:
        raise ProjectError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    except msgspec.ValidationError as error:
        raise ProjectError(f"{path}: {_explain(str(error), kind)}") from None


def _plain(document: Any) -> Any:
    """Drop keys without a value, which mean the default, as `inputs:` alone on a line does.

    What belongs to the user is left as it is: there null is a value.
    """
    if isinstance(document, dict):
        return {
            key: value if key in _USERS_OWN else _plain(value) for key, value in document.items() if value is not None
        }
    return {} if document is None else document


def _explain(sentence: str, kind: type[Any]) -> str:
    text, _, where = sentence.partition(" - at `$")
    place = where.rstrip("`").lstrip(".")
    if text.startswith("Object contains unknown field `"):
        name = text.split("`")[1]
        close = difflib.get_close_matches(name, _keys(kind, place), 1)
        guess = f" Did you mean {close[0]!r}?" if close else ""
        return f"there is no key {f'{place}.{name}'.lstrip('.')!r}.{guess}"
    return f"`{place or 'the file'}`: {text[:1].lower()}{text[1:]}."


def _keys(kind: type[Any], place: str) -> list[str]:
    """Return the keys that a section knows."""
    for step in filter(None, place.split(".")):
        found = [field.type for field in msgspec.structs.fields(kind) if field.name == step]
        members = getattr(found[0], "__args__", (found[0],)) if found else ()
        kind = next((m for m in members if isinstance(m, type) and issubclass(m, msgspec.Struct)), kind)
    return [field.name for field in msgspec.structs.fields(kind)]
