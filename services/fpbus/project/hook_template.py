"""What `fpbus pipeline add-hook` writes: a function that runs as it stands, below `hooks/`."""

import builtins
import difflib
import keyword
from pathlib import Path
from typing import Final

import msgspec

from .configuration import load_project
from .errors import ProjectError, UnknownPipelineError
from .files import pipeline_names
from .hook_file import with_function
from .hooks_folder import hooks_folder, is_module_name

_MODULE: Final = "fpbus.pipelines.hooks"


class _Template(msgspec.Struct, frozen=True):
    """The argument and its type, the type of what is returned, the docstring, and the body's one line."""

    argument: str
    value: str
    returned: str
    says: str
    line: str

    def written(self, moment: str, function: str, pipeline: str | None) -> str:
        decorator = f'@{moment}("{pipeline}")' if pipeline else f"@{moment}"
        head = f"def {function}({self.argument}: {self.value}) -> {self.returned}:"
        return f'{decorator}\n{head}\n    """{self.says}"""\n    {self.line}\n'


_TEMPLATES: Final = {
    "before_run": _Template(
        "run",
        "RunStart",
        "None",
        "Before each attempt at a run. An exception that is raised here stops it.",
        'print(f"{run.pipeline} starts, attempt {run.attempt}")',
    ),
    "after_run": _Template(
        "end",
        "RunEnd",
        "None",
        "After each attempt at a run, however it ended.",
        'print(f"{end.pipeline} took {end.duration_s:.3f} s")',
    ),
    "before_node": _Template(
        "node", "NodeStart", "None", "Before each node, where the node runs.", 'print(f"{node.node} starts")'
    ),
    "after_node": _Template(
        "node",
        "NodeEnd",
        "None",
        "After each node, where the node runs, however it ended.",
        'print(f"{node.node} took {node.duration_s:.3f} s")',
    ),
    "on_success": _Template(
        "end",
        "RunEnd",
        "None",
        "Once per run, when it has succeeded.",
        'print(f"{end.pipeline} succeeded, attempt {end.attempt}")',
    ),
    "on_failure": _Template(
        "end",
        "RunEnd",
        "None",
        "Once per run, when it has failed and is not tried again.",
        'print(f"{end.pipeline} failed at {end.failed_node}: {end.error}")',
    ),
    "on_message": _Template(
        "message",
        "Message",
        "dict[str, object]",
        "Return inputs for the run that this message starts.",
        'return {"topic": message.topic, "text": message.payload.decode("utf-8", "replace")}',
    ),
    "message_config": _Template(
        "message",
        "Message",
        "dict[str, object]",
        "Return Hamilton configuration for the run that this message starts.",
        'return {"topic": message.topic}',
    ),
}

_FLOWERPOWERS: Final = {"mqtt_build_config": "message_config"}

HOOK_TYPES: Final = (*_TEMPLATES, *_FLOWERPOWERS)
"""What `add_hook` takes as a type; '-' is as good as '_'."""

_TAKEN: Final = {*dir(builtins), *_TEMPLATES, *(template.value for template in _TEMPLATES.values())}


class HookNotAddedError(ProjectError):
    """`add_hook` was asked for what it cannot write. Nothing was changed."""

    exit_code = 2


def add_hook(folder: Path, pipeline: str, function: str, kind: str, to: str | None = None) -> Path:
    """Write a hook for one pipeline, and return its file: `hooks/<pipeline>/hook.py`, or `to` below `hooks/`.

    A file that is there keeps all it holds. Raises `HookNotAddedError` and `UnknownPipelineError`.
    """
    known = pipeline_names(folder)
    if pipeline not in known:
        raise UnknownPipelineError(pipeline, known)
    moment = _moment(kind)
    _check_name(function)
    place = hooks_folder(folder, load_project(folder).hooks_dir)
    path = _target(place, pipeline, to)
    template = _TEMPLATES[moment]
    text = template.written(moment, function, pipeline if path.parent == place else None)
    new = with_function(path, function, text, f"from {_MODULE} import ", [template.value, moment])
    _write(place, path, new)
    return path


def _moment(kind: str) -> str:
    name = kind.replace("-", "_")
    moment = _FLOWERPOWERS.get(name, name)
    if moment not in _TEMPLATES:
        close = difflib.get_close_matches(name, HOOK_TYPES, 1)
        hint = f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(HOOK_TYPES)}."
        raise HookNotAddedError(f"There is no type of hook named {kind[:80]!r}.", hint)
    return moment


def _check_name(function: str) -> None:
    if not function.isidentifier() or keyword.iskeyword(function):
        raise HookNotAddedError(f"{function[:80]!r} cannot name a function.", "Use letters, digits and '_'.")
    if function in _TAKEN:
        raise HookNotAddedError(f"{function!r} has a meaning already in a file of hooks.", "Choose another name.")


def _target(place: Path, pipeline: str, to: str | None) -> Path:
    """Return the hook's file, which must be one where hooks of this pipeline are looked for."""
    target = Path(f"{pipeline}/hook.py" if to is None else to)
    if target.suffix != ".py":
        target = target.parent / f"{target.name}.py"
    path = place / target
    if ".." in target.parts or not path.resolve().is_relative_to(place.resolve()):
        raise HookNotAddedError(f"{to!r} leads out of {place}.", "Name a file in that folder, as alerts.py.")
    if path.parent not in (place, place / pipeline):
        raise HookNotAddedError(
            f"Nobody looks in {path.parent} for hooks of the pipeline {pipeline!r}.",
            f"Say {target.name}, for a file in {place}, or {pipeline}/{target.name}.",
        )
    if not is_module_name(path.stem):
        raise HookNotAddedError(f"{path.name!r} cannot name a Python module.", "Use letters, digits and '_'.")
    _refuse_hiding(path, place)
    return path


def _refuse_hiding(path: Path, place: Path) -> None:
    """Refuse to make a file and a folder of one name: Python would import only one of them."""
    if path.parent == place and any(path.with_suffix("").glob("*.py")):
        folder = path.with_suffix("")
        raise HookNotAddedError(f"{path} cannot be imported beside the folder {folder}.", "Choose another file.")
    module = path.parent.with_name(f"{path.parent.name}.py")
    if path.parent != place and module.exists():
        raise HookNotAddedError(
            f"The folder {path.parent} would hide {module}.", f"Add the hook to that file: --to {module.name}"
        )


def _write(place: Path, path: Path, text: str) -> None:
    try:
        for package in (place, path.parent):
            package.mkdir(parents=True, exist_ok=True)
            (package / "__init__.py").touch()
        path.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise ProjectError(f"{path} cannot be written: {error.strerror}.") from error
