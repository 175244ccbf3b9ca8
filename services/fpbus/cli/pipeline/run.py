"""`fpbus pipeline run`: here and now, in this process, without a bus."""

import contextlib
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fpbus.cli.inputs import make_settings, read_adapters, read_inputs, read_kind, read_names, read_object, read_switch
from fpbus.cli.options import FormatOption, LogLevelOption
from fpbus.cli.output import tell

from .logs import log_to_stderr
from .options import BaseDirOption, NameArgument, StorageOptionsOption, load_at
from .talking import talking

if TYPE_CHECKING:
    from fpbus.pipelines import PipelineFailedError, Project
    from fpbus.schemas import RunSettings

    from .progress import Narrator

FAILED = 1


def run(  # noqa: PLR0917 (Typer makes options of them)
    name: NameArgument,
    input_: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="KEY=VALUE", help="One input; JSON, or else a string. May be repeated."),
    ] = None,
    inputs: Annotated[
        str | None, typer.Option(metavar="JSON", help="Inputs as a JSON object, @file, or - for standard input.")
    ] = None,
    final_vars: Annotated[
        str | None,
        typer.Option(
            "--final-vars", "--outputs", "-o", metavar="NAMES", help="The outputs wanted: a,b or a JSON list."
        ),
    ] = None,
    config: Annotated[
        str | None, typer.Option(metavar="JSON", help="For Hamilton's configuration, as @config.when asks for it.")
    ] = None,
    cache: Annotated[str | None, typer.Option(metavar="true|false|JSON", help="Keep and use results of nodes.")] = None,
    executor: Annotated[
        str | None,
        typer.Option(metavar="NAME|JSON", help="local, threadpool, processpool, ray, dask; or with its settings."),
    ] = None,
    with_adapter: Annotated[
        str | None, typer.Option(metavar="JSON", help='Switch adapters on and off: {"mlflow": true}.')
    ] = None,
    max_retries: Annotated[int | None, typer.Option(min=0, help="Tries after the first.")] = None,
    retry_delay: Annotated[float | None, typer.Option(metavar="SECONDS", min=0, help="Between two tries.")] = None,
    jitter_factor: Annotated[float | None, typer.Option(min=0, max=1, help="By which the delay varies.")] = None,
    log_level: LogLevelOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar, and no line at the end.")] = False,
    style: FormatOption = "table",
    base_dir: BaseDirOption = None,
    storage_options: StorageOptionsOption = None,
) -> None:
    """Run a pipeline here and print its outputs.

    What is not given is as the pipeline's configuration says. What the pipeline itself prints comes on standard output,
    or with --format json on standard error. Exit codes: 0 succeeded, 1 failed, 4 no such pipeline, 8 the project is
    not right.
    """
    settings = make_settings(
        inputs=read_inputs(input_ or [], inputs),
        final_vars=read_names(final_vars, "--final-vars"),
        config=read_object(config, "--config") if config is not None else None,
        cache=read_switch(cache, "--cache"),
        executor=read_kind(executor, "--executor"),
        with_adapter=read_adapters(with_adapter, "--with-adapter"),
        max_retries=max_retries,
        retry_delay=retry_delay,
        jitter_factor=jitter_factor,
        log_level=log_level,
    )
    from .outcome import show_outcome

    with talking(style):
        outputs = _outputs_of(load_at(base_dir, storage_options), name, settings, quiet=quiet)
    show_outcome(outputs, style)


def _outputs_of(project: "Project", name: str, settings: "RunSettings", *, quiet: bool) -> dict[str, Any]:
    """Run, and tell what happens meanwhile; exit with 1 when the last try has failed."""
    from fpbus.pipelines import PipelineFailedError

    log_to_stderr(project)
    narrator = _narrator(project, name, settings, quiet=quiet)
    try:
        with narrator.watching(), contextlib.closing(project.graph(name)):
            outputs = project.run(name, settings=settings, report=narrator.hear, retrying=narrator.hear_failure)
    except PipelineFailedError as failed:
        _explain(failed, project)
        narrator.tell_end("failed")
        raise typer.Exit(FAILED) from None
    except SystemExit as end:  # a pipeline's own, which must not pass for ours
        tell(f"Error: the pipeline {name!r} called sys.exit({end.code!r}).")
        raise typer.Exit(FAILED) from None
    narrator.tell_end("succeeded")
    return outputs


def _narrator(project: "Project", name: str, settings: "RunSettings", *, quiet: bool) -> "Narrator":
    from fpbus.pipelines import override

    from .progress import Narrator

    graph = project.graph(name)
    run = override(graph.config.run, settings)

    def count() -> int:
        from fpbus.pipelines.summary import count_nodes  # which loads what draws, too

        return count_nodes(graph, run)

    has_own_bar = run.with_adapter.get("progressbar", False)
    return Narrator(name, count, quiet=quiet, bar=not has_own_bar)


def _explain(failed: "PipelineFailedError", project: "Project") -> None:
    from .failures import in_short, own_trace
    from .progress import at_node

    if failed.node is None:  # what does not fit from outside is a sentence; where it was noticed is of no use
        tell(f"Error: {str(failed) or in_short(failed.cause)}")
        if missing := re.findall(r"The input '(\S+)' is missing", str(failed)):
            tell(
                f"Give {'it' if len(missing) == 1 else 'them'}: {' '.join(f'--input {name}=VALUE' for name in missing)}"
            )
        return
    if trace := own_trace(failed.cause, project.folder) or failed.trace.rstrip():
        tell(trace)
    tell(f"Error: {in_short(failed.cause)}{at_node(failed)}")
