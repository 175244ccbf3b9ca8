"""Import a pipeline's module from the project's `pipelines/` folder.

A process may load one project after another, and each has its own `pipelines`: the name belongs to the project that
was asked for last. What was imported of the one before goes on working.
"""

import importlib
import importlib.machinery
import importlib.util
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Final

from fpbus.schemas import FpbusError

from .faults import legible

#: One thread at a time: another one would find the modules of the project before, or take away half of this one's.
_importing: Final = threading.RLock()


class PipelineNotLoadableError(FpbusError):
    """A pipeline's module cannot be imported, or is no DAG. `traceback` shows where, in the user's own code."""

    exit_code = 8

    def __init__(self, message: str, hint: str | None = None, trace: str | None = None) -> None:
        super().__init__(message, hint)
        self.traceback = trace


def import_pipeline(folder: Path, name: str) -> ModuleType:
    """Import `pipelines/<name>.py`; the project's folder is first on the path, so modules there find each other."""
    path = folder / "pipelines" / f"{name}.py"
    if not path.is_file():
        raise PipelineNotLoadableError(f"The pipeline {name!r} has no module: {path} is missing.")
    with _importing:
        _put_on_path(folder)
        _import(str(path.parent / "__init__.py"), lambda: _claim(path.parent))
        if name.isidentifier():
            return _import(str(path), lambda: importlib.import_module(f"pipelines.{name}"))
        return _import(str(path), lambda: _import_file(path, f"pipelines.{name.replace('.', '__').replace('-', '_')}"))


def import_additional(folder: Path, name: str) -> ModuleType:
    """Import one of `additional_modules`: a module of the project's `pipelines/` folder, or any dotted name."""
    if (folder / "pipelines" / f"{name}.py").is_file():
        return import_pipeline(folder, name)
    _put_on_path(folder)
    return _import(f"The additional module {name!r}", lambda: importlib.import_module(name))


def _put_on_path(folder: Path) -> None:
    if str(folder) not in sys.path[:1]:
        sys.path[:] = [str(folder), *(place for place in sys.path if place != str(folder))]


def _claim(place: Path) -> ModuleType:
    """Make the package `pipelines` mean exactly this folder; Python's own search could mix it with another's."""
    known = sys.modules.get("pipelines")
    if known is not None and list(getattr(known, "__path__", ())) == [str(place)]:
        return known
    for other in [other for other in sys.modules if other == "pipelines" or other.startswith("pipelines.")]:
        del sys.modules[other]
    importlib.invalidate_caches()  # a file may be younger than Python's last look at the folder
    init = place / "__init__.py"
    spec: importlib.machinery.ModuleSpec | None = importlib.machinery.ModuleSpec("pipelines", None, is_package=True)
    if init.is_file():
        spec = importlib.util.spec_from_file_location("pipelines", init, submodule_search_locations=[str(place)])
    assert spec is not None
    spec.submodule_search_locations = [str(place)]
    return _load(spec)


def _import(what: str, load: Callable[[], ModuleType]) -> ModuleType:
    try:
        return load()
    except (Exception, SystemExit) as error:
        # Whatever the module does while it is imported is the user's; it ends this run, not the runner.
        kind = type(error).__name__
        raise PipelineNotLoadableError(
            f"{what} cannot be imported: {kind}: {legible(str(error))}", trace=traceback.format_exc()
        ) from error


def _import_file(path: Path, module_name: str) -> ModuleType:
    """Import a file whose name is no Python name, such as `heat-alarm.py`."""
    if module_name in sys.modules:
        return sys.modules[module_name]
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    return _load(spec)


def _load(spec: importlib.machinery.ModuleSpec) -> ModuleType:
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        if spec.loader is not None:
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module
