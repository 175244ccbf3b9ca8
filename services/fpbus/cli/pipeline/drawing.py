"""`fpbus pipeline show-dag` and `save-dag`."""

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, get_args

import typer

from fpbus.cli.options import LogLevelOption
from fpbus.cli.output import tell, write

from .options import BaseDirOption, NameArgument, StorageOptionsOption, load_at, named, project_to_change

if TYPE_CHECKING:
    from fpbus.pipelines import Project

FormatName = Literal["png", "svg", "pdf", "dot", "mermaid", "html", "raw"]

_GRAPHS: Final = Path("graphs")
_SUFFIXES: Final = {"mermaid": "mmd", "raw": "dot"}
_BINARY: Final = {"png", "pdf"}
_TO_LOOK_AT: Final = _BINARY | {"svg", "html"}


def show_dag(
    name: NameArgument,
    style: Annotated[FormatName, typer.Option("--format", help="How to draw it.")] = "png",
    base_dir: BaseDirOption = None,
    storage_options: StorageOptionsOption = None,
    _level: LogLevelOption = None,
) -> None:
    """Draw a pipeline's DAG and look at it.

    A picture is opened; where no desktop is to open it on, it is kept in a temporary file, whose path is printed. Text
    is printed. png and pdf need Graphviz' program `dot`.
    """
    drawing = _drawn(load_at(base_dir, storage_options), name, style)
    if style in _TO_LOOK_AT and _is_desktop():
        file = _keep(drawing, name, style)
        tell(f"Opening {file}")
        typer.launch(str(file))
    elif style in _BINARY or (style in _TO_LOOK_AT and sys.stdout.isatty()):
        write(str(_keep(drawing, name, style)))
    else:
        write(drawing.decode().rstrip("\n"))


def save_dag(
    name: NameArgument,
    style: Annotated[
        FormatName | None, typer.Option("--format", help="How to draw it.  [default: as the file is called, or png]")
    ] = None,
    output_path: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where: a file or a folder.  [default: graphs/NAME.FORMAT in the project]"),
    ] = None,
    base_dir: BaseDirOption = None,
    storage_options: StorageOptionsOption = None,
    _level: LogLevelOption = None,
) -> None:
    """Draw a pipeline's DAG into a file.

    Prints its path. png and pdf need Graphviz' program `dot`.
    """
    from fpbus.pipelines import Project

    style = style or _style_of(output_path)
    with project_to_change(base_dir, storage_options) as folder:
        drawing = _drawn(Project.load(folder), name, style)
        file = _target(output_path or folder / _GRAPHS, name, style, is_folder=output_path is None)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(drawing)
    write(named(file, folder, base_dir))


def _drawn(project: "Project", name: str, style: FormatName) -> bytes:
    from fpbus.pipelines.drawing import DrawingFormat, draw
    from fpbus.pipelines.summary import look_at

    return draw(look_at(project.graph(name)), DrawingFormat(style))


def _style_of(path: Path | None) -> FormatName:
    suffix = path.suffix.removeprefix(".") if path else ""
    names = {_SUFFIXES.get(style, style): style for style in get_args(FormatName) if style != "raw"}
    style: FormatName = names.get(suffix, "png")
    return style


def _target(path: Path, name: str, style: FormatName, *, is_folder: bool) -> Path:
    return path / _file_name(name, style) if is_folder or path.is_dir() else path


def _file_name(name: str, style: FormatName) -> str:
    return f"{name}.{_SUFFIXES.get(style, style)}"


def _keep(drawing: bytes, name: str, style: FormatName) -> Path:
    file = Path(tempfile.mkdtemp(prefix="fpbus-")) / _file_name(name, style)
    file.write_bytes(drawing)
    return file


def _is_desktop() -> bool:
    """Tell whether somebody sits before this machine, and there is a program to open a picture with."""
    if not sys.stdout.isatty():
        return False
    if sys.platform == "darwin":
        return not os.environ.get("SSH_CONNECTION")
    screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(screen) and shutil.which("xdg-open") is not None
