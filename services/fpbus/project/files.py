"""Find a project's files. Nothing here runs the project's code."""

import contextlib
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Final

from fpbus.schemas import is_pipeline_name

from .errors import ProjectError
from .faults import Fault

CONFIG: Final = Path("conf/project.yml")
PIPELINES: Final = Path("conf/pipelines")
MODULES: Final = Path("pipelines")
HOOKS: Final = Path("hooks")

_OTHER_SUFFIX: Final = ".yaml"


def find_project(start: Path) -> Path:
    """Return the folder at or above `start` that holds `conf/project.yml`."""
    for folder in (start, *start.parents):
        if (folder / CONFIG).is_file():
            return folder
    hint = "Make one: fpbus init"
    if (start / CONFIG).with_suffix(_OTHER_SUFFIX).is_file():
        hint = f"There is {CONFIG.with_suffix(_OTHER_SUFFIX)}, which is not read: rename it to {CONFIG.name}."
    raise ProjectError(f"There is no fpbus project at {start}: {CONFIG} is missing.", hint)


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


def misnamed(folder: Path) -> list[Fault]:
    """Return a fault for each configuration file that nobody reads because of its ending."""
    files = sorted((folder / PIPELINES).glob(f"*{_OTHER_SUFFIX}"))
    files += [path for path in [(folder / CONFIG).with_suffix(_OTHER_SUFFIX)] if path.is_file()]
    return [
        Fault(file=str(path), message="the file is not read: only .yml is.", hint=f"Rename it to {path.stem}.yml.")
        for path in files
    ]


def misnamed_hint(folder: Path, name: str) -> str | None:
    """Return a hint where the file of a pipeline that is not there has another ending."""
    found = (path for path in (folder / PIPELINES).glob(f"*{_OTHER_SUFFIX}") if path.stem == name)
    return next((f"{PIPELINES / path.name} is not read: rename it to {name}.yml." for path in found), None)


def stamp(folder: Path, hooks_dir: str = str(HOOKS)) -> tuple[tuple[str, int, int], ...]:
    """Return something that differs when a configuration file or module has changed."""
    return tuple(sorted(_stamps(folder, hooks_dir)))


def source_digest(folder: Path) -> str | None:
    """Digest what pipelines are made of, names and contents, so that two machines can tell whether they have the same.

    None where there is no code: a dispatcher needs only the configuration.
    """
    modules = sorted((folder / MODULES).rglob("*.py"))
    if not modules:
        return None
    digest = blake2b(digest_size=16)
    for path in (folder / CONFIG, *sorted((folder / PIPELINES).glob("*.yml")), *modules):
        with contextlib.suppress(FileNotFoundError):
            content = path.read_bytes()
            digest.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def names_stamp(folder: Path) -> int:
    """Return something that differs when a pipeline's file has come or gone; one look at the folder itself."""
    try:
        return (folder / PIPELINES).stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _stamps(folder: Path, hooks_dir: str) -> Iterator[tuple[str, int, int]]:
    for path in (folder / CONFIG, *(folder / PIPELINES).glob("*.yml"), *_modules(folder, hooks_dir)):
        try:
            state = path.stat()
        except FileNotFoundError:
            continue
        yield str(path), state.st_mtime_ns, state.st_size


def _modules(folder: Path, hooks_dir: str) -> Iterator[Path]:
    for place in (MODULES, hooks_dir):
        yield from (folder / place).rglob("*.py")
