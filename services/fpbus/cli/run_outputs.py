"""`fpbus runs show --output`: one output of a run, printed or saved."""

import difflib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from .output import tell, write

if TYPE_CHECKING:
    from fpbus.schemas import Output, RunRecord


def hand_out(record: "RunRecord", name: str, save: Path | None, project: str | None) -> None:
    """Print an output, or save it. What lies on the storage is read from there, byte by byte as the runner wrote it.

    Raises `NotFoundError` for an output that the run does not have.
    """
    import msgspec

    from fpbus.schemas import Output
    from fpbus.schemas.plain import plain_json

    outputs = msgspec.convert(record.outputs or {}, dict[str, Output])
    if name not in outputs:
        raise _missing(record, name, list(outputs))
    content = _content(outputs[name], project)
    if save is not None:
        _save(save, content)
        tell(f"Saved {len(content)} bytes to {save}.")
    elif outputs[name].ref is None or outputs[name].format == "json":
        write(plain_json(content.decode().rstrip("\n")))
    elif sys.stdout.isatty():
        raise typer.BadParameter(
            f"{name} is {outputs[name].format}, nothing to read; --save FILE.", param_hint="--output"
        )
    else:
        sys.stdout.buffer.write(content)


def _missing(record: "RunRecord", name: str, names: list[str]) -> Exception:
    from fpbus.control import NotFoundError

    if not names:
        return NotFoundError(f"The run {record.run_id} has no outputs: it is {record.state}.")
    close = difflib.get_close_matches(name, names, 1)
    hint = f"Did you mean {close[0]!r}?" if close else f"It has {', '.join(names)}."
    return NotFoundError(f"The run {record.run_id} has no output {name!r}.", hint)


def _content(output: "Output", project: str | None) -> bytes:
    if output.ref is None:
        return json.dumps(output.json, ensure_ascii=False).encode() + b"\n"
    from fpbus.project import read_output

    return read_output(output.ref, _storage_options(project))


def _storage_options(project: str | None) -> dict[str, Any]:
    """Return what the project's file says of its storage; a command may also be typed elsewhere."""
    from fpbus.project import ProjectError, find_project, load_project

    from .settings import settings_of

    try:
        return load_project(find_project(settings_of(project).project_dir)).storage_options
    except ProjectError:
        return {}


def _save(file: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    from fpbus.schemas import FpbusError

    part = file.with_name(f"{file.name}.part")
    try:
        part.write_bytes(content)
        part.replace(file)
    except OSError as error:
        raise FpbusError(f"{file} cannot be written: {error.strerror}.") from error
