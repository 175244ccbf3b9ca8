"""`fpbus pipeline show-summary`: configuration and code, to read."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fpbus.cli.options import FormatOption, LogLevelOption
from fpbus.cli.output import show_data, write

from .options import BaseDirOption, StorageOptionsOption, project_folder

if TYPE_CHECKING:
    from rich.console import Console
    from rich.tree import Tree

    from fpbus.project.summary import PipelineSummary, ProjectSummary

_PAGE_WIDTH = 120


def show_summary(  # noqa: PLR0917 (Typer makes options of them)
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Only this pipeline.")] = None,
    cfg: Annotated[bool, typer.Option("--cfg/--no-cfg", help="With the pipelines' configuration.")] = True,
    code: Annotated[bool, typer.Option("--code/--no-code", help="With their code.")] = True,
    project: Annotated[bool, typer.Option("--project/--no-project", help="With the project's configuration.")] = True,
    to_html: Annotated[bool, typer.Option("--to-html", help="As a page of HTML.")] = False,
    to_svg: Annotated[bool, typer.Option("--to-svg", help="As an SVG picture.")] = False,
    output_file: Annotated[
        Path | None, typer.Option("--output-file", metavar="FILE", help="Write it there.  [default: print it]")
    ] = None,
    style: FormatOption = "table",
    base_dir: BaseDirOption = None,
    storage_options: StorageOptionsOption = None,
    _level: LogLevelOption = None,
) -> None:
    """Show configuration and code of the project.

    Secrets in the configuration are masked.
    """
    from fpbus.project.summary import summarise_project

    if to_html and to_svg:
        raise typer.BadParameter("it is one of --to-html and --to-svg.", param_hint="--to-svg")
    summary = summarise_project(project_folder(base_dir, storage_options), name, cfg=cfg, code=code, project=project)
    if to_html or to_svg:
        _put(_page(summary, svg=to_svg), output_file)
    elif style != "table":
        show_data(summary, style)
    elif output_file is not None:
        _put(_plain(summary), output_file)
    else:
        _print(summary, _terminal())


def _put(text: str, file: Path | None) -> None:
    if file is None:
        write(text)
    else:
        file.write_text(text, encoding="utf-8")
        write(str(file))


def _terminal() -> "Console":
    """Return a console that wraps lines on a terminal, and nowhere else."""
    import sys

    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=10_000, no_color=True)


def _plain(summary: "ProjectSummary") -> str:
    from io import StringIO

    from rich.console import Console

    text = StringIO()
    _print(summary, Console(file=text, width=10_000, no_color=True))
    return text.getvalue()


def _page(summary: "ProjectSummary", *, svg: bool) -> str:
    from io import StringIO

    from rich.console import Console

    console = Console(file=StringIO(), record=True, width=_PAGE_WIDTH, force_terminal=True)
    _print(summary, console)
    title = Path(summary.folder).name
    return console.export_svg(title=title) if svg else console.export_html()


def _print(summary: "ProjectSummary", console: "Console") -> None:
    if summary.project is not None:
        console.print(
            _tree(f"project {_written(summary.project.get('name', ''))}", summary.project, f" in {summary.folder}")
        )
        console.print()
    for name, pipeline in summary.pipelines.items():
        _print_pipeline(name, pipeline, console)


def _print_pipeline(name: str, pipeline: "PipelineSummary", console: "Console") -> None:
    console.print(_tree(f"pipeline {name}", pipeline.config or {}))
    from fpbus.schemas.plain import plain

    if pipeline.code is not None:
        console.print(f"\n{pipeline.module}", style="bold", markup=False, highlight=False)
        _print_code(plain(pipeline.code.rstrip(), lines=True), console)
    console.print()


def _print_code(code: str, console: "Console") -> None:
    """Print code in colours where there are any; elsewhere as it is, without the padding that colours need."""
    if console.no_color:
        console.print(code, markup=False, highlight=False)
        return
    from rich.syntax import Syntax

    console.print(Syntax(code, "python", background_color="default", word_wrap=True))


def _tree(title: str, values: dict[str, Any], where: str = "") -> "Tree":
    from rich.text import Text
    from rich.tree import Tree

    tree = Tree(Text.assemble((title, "bold"), (where, "dim")), guide_style="dim")
    _grow(tree, values)
    return tree


def _grow(tree: "Tree", values: dict[str, Any]) -> None:
    from rich.text import Text

    from fpbus.schemas.plain import plain

    for key, value in values.items():
        if isinstance(value, dict) and value:
            _grow(tree.add(Text(plain(f"{key}"), "cyan")), value)
        else:
            tree.add(Text.assemble((plain(f"{key}: "), "cyan"), _written(value)))


def _written(value: Any) -> str:
    import msgspec

    from fpbus.schemas.plain import plain

    return plain(value if isinstance(value, str) else msgspec.json.encode(value).decode(), lines=True)
