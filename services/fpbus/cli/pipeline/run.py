"""`fpbus pipeline run`: here and now, in this process, without a bus."""

import contextlib
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fpbus.cli.options import FormatOption, LogLevelOption
from fpbus.cli.output import tell
from fpbus.cli.run_options import (
    AdapterOption,
    CacheOption,
    ConfigOption,
    DelayOption,
    ExecutorOption,
    FinalVarsOption,
    InputOption,
    InputsOption,
    JitterOption,
    RetriesOption,
    settings_of_run,
)

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
    input_: InputOption = None,
    inputs: InputsOption = None,
    final_vars: FinalVarsOption = None,
    config: ConfigOption = None,
    cache: CacheOption = None,
    executor: ExecutorOption = None,
    with_adapter: AdapterOption = None,
    max_retries: RetriesOption = None,
    retry_delay: DelayOption = None,
    jitter_factor: JitterOption = None,
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
    settings = settings_of_run(
        input_,
        inputs,
        final_vars,
        config,
        cache,
        executor,
        with_adapter,
        max_retries,
        retry_delay,
        jitter_factor,
        log_level,
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
