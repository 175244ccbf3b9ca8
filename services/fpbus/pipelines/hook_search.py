"""Find a pipeline's hooks: functions with a mark in the hooks folder, and functions that the configuration names."""

import difflib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import msgspec

from fpbus.schemas import HookConfig

from .hook_modules import import_hooks, import_module, package_of
from .hooks import Message, marks_of
from .modules import PipelineNotLoadableError

_Found = tuple[str, Callable[..., Any], str]

_OF_MESSAGES: Final = frozenset({"on_message", "message_config"})


class Hook(msgspec.Struct, frozen=True):
    """A function to call at a moment. `name` is dotted; `file` and `line` say where it is defined, if anybody knows."""

    moment: str
    function: Callable[[Any], Any]
    name: str
    file: str
    line: int

    def tell(self, error: BaseException | None = None) -> str:
        """Name the hook and its line; with an error, the line in its file where that came from."""
        frames = traceback.extract_tb(error.__traceback__) if error else []
        lines = [frame.lineno for frame in frames if frame.filename == self.file]
        return f"{self.name} ({self.file}:{lines[-1] if lines else self.line})" if self.file else self.name


def find_hooks(folder: Path, hooks_dir: str, pipeline: str, configured: Sequence[HookConfig]) -> list[Hook]:
    """Return a pipeline's hooks in the order in which they are called, each of them once for each moment.

    First those of the hooks folder, then those of its subfolder of the pipeline's name: by file, and in a file from
    top to bottom. Last those of the configuration, as they stand there. Raises `PipelineNotLoadableError`.
    """
    modules = import_hooks(folder, hooks_dir, pipeline)
    found = [*_marked(modules, pipeline), *(_configured(config, folder, hooks_dir) for config in configured)]
    once: dict[tuple[str, int], _Found] = {}
    for moment, function, name in found:
        once.setdefault((moment, id(function)), (moment, function, name))
    return [_hook(*each) for each in once.values()]


def _marked(modules: Sequence[ModuleType], pipeline: str) -> Iterator[_Found]:
    for module in modules:
        for name, value in vars(module).items():
            for mark in marks_of(value):
                if mark.covers(pipeline) and not _is_imported(value, module):
                    yield mark.moment, value, f"{module.__name__}.{name}"


def _is_imported(function: Any, module: ModuleType) -> bool:
    """Say whether a function is at home in another module, whose hook it then is.

    It is not where a decorator has put a function of its own module around one of this module's.
    """
    home = sys.modules.get(getattr(function, "__module__", None) or module.__name__)
    return home is not module and getattr(home, getattr(function, "__name__", ""), None) is function


def _configured(config: HookConfig, folder: Path, hooks_dir: str) -> _Found:
    module_name, _, attribute = config.function.rpartition(".")
    package = package_of(hooks_dir)
    asked = f"The configuration's {config.type} hook {config.function!r}"
    if not module_name:
        raise PipelineNotLoadableError(f"{asked} has no module.", f"Write {package}.<module>.{config.function}.")
    if not _exists(module_name, folder):
        names = [f"{package}.{path.stem}" for path in (folder / hooks_dir).glob("*.py")]
        raise PipelineNotLoadableError(
            f"{asked} is not there: there is no module {module_name!r}.", _guess(module_name, names)
        )
    module = import_module(module_name, folder)
    function = getattr(module, attribute, None)
    if not callable(function):
        names = [name for name, value in vars(module).items() if inspect.isfunction(value)]
        where = getattr(module, "__file__", module_name)
        lack = "has nothing of that name" if function is None else f"holds a {type(function).__name__} there"
        raise PipelineNotLoadableError(f"{asked} is no function: {where} {lack}.", _guess(attribute, names))
    return config.type, function, config.function


def _exists(module_name: str, folder: Path) -> bool:
    if module_name in sys.modules:
        return True
    parent = module_name.rpartition(".")[0]
    if parent and not _exists(parent, folder):
        return False
    if parent and not hasattr(import_module(parent, folder), "__path__"):
        return False
    try:
        return importlib.util.find_spec(module_name) is not None
    except (ValueError, ImportError):
        return False


def _guess(name: str, known: Sequence[str]) -> str | None:
    close = difflib.get_close_matches(name, known, 1)
    return f"Did you mean {close[0]!r}?" if close else None


def _hook(moment: str, function: Callable[..., Any], name: str) -> Hook:
    code = getattr(inspect.unwrap(function), "__code__", None)
    hook = Hook(moment, function, name, code.co_filename if code else "", code.co_firstlineno if code else 0)
    kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    if any(kind(function) for kind in kinds):
        raise PipelineNotLoadableError(
            f"The hook {hook.tell()} is an `async def` or a generator, whose body a call does not run.",
            "Write a plain function.",
        )
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):  # some of C's do not say
        return hook
    if moment in _OF_MESSAGES and {"payload", "topic"} <= signature.parameters.keys():
        return msgspec.structs.replace(hook, function=_by_name(function))
    try:
        signature.bind(None)
    except TypeError as error:
        raise PipelineNotLoadableError(
            f"The hook {hook.tell()} cannot be called: {error}.", "A hook takes one argument."
        ) from None
    return hook


def _by_name(function: Callable[..., Any]) -> Callable[[Message], Any]:
    """Call a function that takes payload and topic, as FlowerPower's did."""
    return lambda message: function(payload=message.payload, topic=message.topic)
