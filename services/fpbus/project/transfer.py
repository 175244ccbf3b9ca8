"""Pipelines from one project into another, and out of one: all the files of all of them, or none."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fpbus.schemas import FpbusError

from .configuration import load_project
from .errors import ProjectError, UnknownPipelineError
from .files import CONFIG, MODULES, PIPELINES, pipeline_names
from .hooks_folder import hooks_folder


class PipelineExistsError(ProjectError):
    """A pipeline is to be copied to where one of the same name is."""


class NothingToDeleteError(ProjectError):
    """A pipeline does not have the file that was to be deleted."""

    exit_code = 4


def copy_pipelines(
    source: Path,
    destination: Path,
    names: Sequence[str] | None = None,
    overwrite: bool = False,  # noqa: FBT001, FBT002  it reads as a word where it is used
) -> list[Path]:
    """Copy pipelines between project folders, and return the files written; `None` copies all.

    A pipeline is its module, its configuration and its folder of hooks, if it has one; with `overwrite` these are
    afterwards what they are in `source`. Raises `UnknownPipelineError`, `PipelineExistsError` or `ProjectError`,
    and then nothing is changed.
    """
    _refuse_same(source, destination)
    known = pipeline_names(source)
    wanted = list(dict.fromkeys(known if names is None else names))
    for name in wanted:
        if name not in known:
            raise UnknownPipelineError(name, known)
    new = {path: content for name in wanted for path, content in _files(source, destination, name)}
    old = [path for name in wanted for path in _places(destination, name)]
    if old and not overwrite:
        raise PipelineExistsError(
            f"{destination} has already: {', '.join(sorted(str(path.relative_to(destination)) for path in old))}.",
            "Nothing was copied. Replace them with --overwrite.",
        )
    _change({**dict.fromkeys(old), **new})
    return list(new)


def delete_pipeline(
    folder: Path,
    name: str,
    cfg: bool = False,  # noqa: FBT001, FBT002  named as the options of the command
    module: bool = False,  # noqa: FBT001, FBT002
) -> list[Path]:
    """Delete a pipeline's configuration, its module, or both when neither is said; return the files deleted.

    Its hooks stay. Raises `UnknownPipelineError` where there is nothing to delete.
    """
    both = cfg == module
    files = [path for path, chosen in zip(_own(folder, name), (cfg or both, module or both), strict=True) if chosen]
    found = [path for path in files if _is_pipeline_of(folder, name) and path.is_file()]
    if not found:
        raise _nothing_to_delete(folder, name, files)
    _change(dict.fromkeys(found))
    return found


def _own(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / PIPELINES / f"{name}.yml", folder / MODULES / f"{name}.py"


def _places(folder: Path, name: str) -> list[Path]:
    """Return the files of a pipeline that there are."""
    hooks = hooks_folder(folder, load_project(folder).hooks_dir) / name
    found = (path for path in hooks.rglob("*") if "__pycache__" not in path.parts)
    return [path for path in (*_own(folder, name), *found) if path.is_file()]


def _files(source: Path, destination: Path, name: str) -> Iterator[tuple[Path, bytes]]:
    """Read the files of a pipeline; each goes with its place in the other project."""
    hooks = hooks_folder(source, load_project(source).hooks_dir)
    other_hooks = hooks_folder(destination, load_project(destination).hooks_dir)
    _, module = _own(source, name)
    if not module.is_file():
        raise ProjectError(f"The pipeline {name!r} has no module: {module} is missing.", "Nothing was copied.")
    for path in _places(source, name):
        to = (
            other_hooks / path.relative_to(hooks)
            if path.is_relative_to(hooks)
            else destination / path.relative_to(source)
        )
        yield to, path.read_bytes()


def _refuse_same(source: Path, destination: Path) -> None:
    for folder in (source, destination):
        if not (folder / CONFIG).is_file():
            raise ProjectError(f"There is no fpbus project at {folder}: {CONFIG} is missing.", "Make one: fpbus init")
    if source.resolve() == destination.resolve():
        raise ProjectError(f"{source} is both projects.", "Name another one.")


def _is_pipeline_of(folder: Path, name: str) -> bool:
    """Tell whether there is such a pipeline or module: a name that is no file's cannot lead out of the folder."""
    return name in {path.stem for path in _everything(folder)}


def _everything(folder: Path) -> Iterator[Path]:
    yield from (folder / PIPELINES).glob("*.yml")
    yield from (path for path in (folder / MODULES).glob("*.py") if path.name != "__init__.py")


def _nothing_to_delete(folder: Path, name: str, files: Sequence[Path]) -> FpbusError:
    known = sorted({path.stem for path in _everything(folder)})
    if name not in known:
        return UnknownPipelineError(name, known)
    missing = " and ".join(str(path.relative_to(folder)) for path in files)
    return NothingToDeleteError(f"The pipeline {name!r} has no {missing}.", "Nothing was deleted.")


def _change(files: Mapping[Path, bytes | None]) -> None:
    """Write files, and delete those whose content is None; when one of them cannot be, put all back as they were."""
    before = {path: path.read_bytes() if path.is_file() else None for path in files}
    try:
        _put(files)
    except OSError as error:
        for path, content in before.items():
            with contextlib.suppress(OSError):
                _put({path: content})
        raise ProjectError(f"{error.filename}: {error.strerror}.", "Nothing was changed.") from error


def _put(files: Mapping[Path, bytes | None]) -> None:
    for path, content in files.items():
        if content is None:
            path.unlink(missing_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            new = path.with_name(f".{path.name}.new")  # beside it, so that replacing it is one step
            try:
                new.write_bytes(content)
                new.replace(path)
            except OSError:
                new.unlink(missing_ok=True)
                raise
