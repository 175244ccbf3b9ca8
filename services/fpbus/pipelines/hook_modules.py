"""Import the modules of a project's hooks folder, as `hooks.<module>`.

A process may load one project after another, and each has its own `hooks`: the name belongs to the project that
was asked for last. Functions of the one before go on working.
"""

import importlib
import importlib.machinery
import importlib.util
import sys
import traceback
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Final

from fpbus.project.files import CONFIG
from fpbus.project.hooks_folder import hooks_folder

from .modules import PipelineNotLoadableError

_OWNED: Final = "__fpbus_project__"


def import_hooks(folder: Path, hooks_dir: str, pipeline: str) -> list[ModuleType]:
    """Import what is in the hooks folder itself and in its subfolder of the pipeline's name, in order of the names.

    Raises `PipelineNotLoadableError`, which names file and line.
    """
    place = hooks_folder(folder, hooks_dir)
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    if not place.is_dir():
        return []
    _refuse_hidden_modules(place)
    importlib.invalidate_caches()  # a file may be younger than Python's last look at the folder
    package, own = package_of(hooks_dir), place / pipeline
    _own(package.partition(".")[0], folder / Path(hooks_dir).parts[0], folder)
    # A name with a dot is no Python name; it gets one that no other folder can have.
    subpackage = f"{package}.{pipeline.replace('.', '%2E')}"
    if "." in pipeline and own.is_dir():
        _own(subpackage, own, folder)
    names = [*_module_names(place, package), *_module_names(own, subpackage)]
    return [import_module(name, folder) for name in names]


def package_of(hooks_dir: str) -> str:
    return ".".join(Path(hooks_dir).parts)


def import_module(name: str, folder: Path) -> ModuleType:
    with _telling_the_line(name, folder):
        return importlib.import_module(name)


def _module_names(place: Path, package: str) -> Iterator[str]:
    for path in sorted(place.glob("*.py")):
        if path.name == "__init__.py":
            yield package
        elif not path.name.startswith("."):  # an editor's own
            yield f"{package}.{path.stem}"


def _refuse_hidden_modules(place: Path) -> None:
    """Python imports a folder rather than the file of the same name, whose hooks would never be called."""
    for path in place.glob("*.py"):
        if any(path.with_suffix("").glob("*.py")):
            raise PipelineNotLoadableError(
                f"{path} is hidden by the folder {path.stem}/ beside it: Python imports only one of them.",
                f"Move it into the folder, or give it another name than {path.name}.",
            )


def _own(name: str, place: Path, folder: Path) -> None:
    """Make the package `name` mean the folder `place`, whatever another project has left under that name."""
    known = sys.modules.get(name)
    if known is not None and str(place) not in getattr(known, "__path__", ()):
        if not _is_a_projects(known):
            taken = getattr(known, "__file__", None) or "Python itself"
            raise PipelineNotLoadableError(
                f"`hooks_dir`: a package of the name {name!r} is there already, from {taken}.",
                "Give the folder another name.",
            )
        for other in [other for other in sys.modules if other == name or other.startswith(f"{name}.")]:
            del sys.modules[other]
        known = None
    setattr(known or _load_package(name, place, folder), _OWNED, str(folder))


def _is_a_projects(package: ModuleType) -> bool:
    """Say whether a package came from here, or from a project whose own code imported it."""
    folders = [Path(place).parent for place in getattr(package, "__path__", ())]
    return hasattr(package, _OWNED) or any((folder / CONFIG).is_file() for folder in folders)


def _load_package(name: str, place: Path, folder: Path) -> ModuleType:
    """Load exactly this folder; the usual search could find another one of the same name on the path."""
    init = place / "__init__.py"
    spec: importlib.machinery.ModuleSpec | None = importlib.machinery.ModuleSpec(name, None, is_package=True)
    if init.is_file():
        spec = importlib.util.spec_from_file_location(name, init, submodule_search_locations=[str(place)])
    assert spec is not None
    spec.submodule_search_locations = [str(place)]
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if init.is_file():
        assert spec.loader is not None
        try:
            with _telling_the_line(name, folder):
                spec.loader.exec_module(module)
        except PipelineNotLoadableError:
            del sys.modules[name]
            raise
    return module


@contextmanager
def _telling_the_line(name: str, folder: Path) -> Generator[None]:
    try:
        yield
    except (Exception, SystemExit) as error:
        # Whatever the module does while it is imported is the user's; it ends this run, not the runner.
        where, kind = _where(error, folder) or name, type(error).__name__
        raise PipelineNotLoadableError(
            f"{where}: the module of hooks {name!r} cannot be imported: {kind}: {error}", trace=traceback.format_exc()
        ) from error


def _where(error: BaseException, folder: Path) -> str | None:
    """Return file and line of the project's own code where an import ended."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(folder)]
    return f"{own[-1].filename}:{own[-1].lineno}" if own else None
