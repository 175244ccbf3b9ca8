"""Functions of the project that are named on the command line."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer


def function_named(name: str, folder: Path, packages: Sequence[str], option: str) -> Callable[..., Any]:
    """Return the function `module.function`, looked for in each of the packages ("" is the project itself)."""
    module_name, _, attribute = name.rpartition(".")
    if not module_name:
        raise typer.BadParameter(f"{name!r} has no module; write module.{name}.", param_hint=option)
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    for package in packages:
        full = f"{package}.{module_name}".lstrip(".")
        if _exists(full) and callable(found := getattr(importlib.import_module(full), attribute, None)):
            return found  # type: ignore[no-any-return]  # anything callable will do
    raise typer.BadParameter(f"there is no function {name!r} in {folder}.", param_hint=option)


def _exists(module_name: str) -> bool:
    try:
        return importlib.util.find_spec(module_name) is not None
    except ModuleNotFoundError:
        return False
