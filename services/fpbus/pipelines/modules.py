"""Import a pipeline's module from the project's `pipelines/` folder."""

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from fpbus.schemas import FpbusError


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
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        if name.isidentifier():
            return importlib.import_module(f"pipelines.{name}")
        return _import_file(path, f"pipelines.{name.replace('.', '__').replace('-', '_')}")
    except Exception as error:
        # Whatever the module does while it is imported is the user's; it ends this run, not the runner.
        kind = type(error).__name__
        raise PipelineNotLoadableError(
            f"{path} cannot be imported: {kind}: {error}", trace=traceback.format_exc()
        ) from error


def _import_file(path: Path, module_name: str) -> ModuleType:
    """Import a file whose name is no Python name, such as `heat-alarm.py`."""
    if module_name in sys.modules:
        return sys.modules[module_name]
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
    return module
