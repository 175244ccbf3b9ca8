"""`fpbus mqtt run-pipeline-on-message`: each message on a topic is a run of one pipeline."""

import contextlib
from typing import TYPE_CHECKING, Annotated

import typer

from fpbus.cli.connecting import connected
from fpbus.cli.options import FormatOption, LogLevelOption
from fpbus.cli.pipeline.options import BaseDirOption, NameArgument, StorageOptionsOption, load_at
from fpbus.cli.pipeline.talking import talking
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

from .listening import Place, listening, serve
from .options import (
    CleanOption,
    ClientIdOption,
    CountOption,
    HostOption,
    PasswordOption,
    PortOption,
    QosOption,
    SuffixOption,
    TimeoutOption,
    UserOption,
)

if TYPE_CHECKING:
    from collections.abc import Generator

    from fpbus.control import Control


def run_pipeline_on_message(  # noqa: PLR0917 (Typer makes options of them)
    name: NameArgument,
    topic: Annotated[str | None, typer.Argument(metavar="TOPIC", help="May have + and #.")] = None,
    topic_option: Annotated[str | None, typer.Option("--topic", metavar="TOPIC", help="The same.")] = None,
    host: HostOption = None,
    port: PortOption = None,
    username: UserOption = None,
    password: PasswordOption = None,
    clean_session: CleanOption = True,
    qos: QosOption = 0,
    client_id: ClientIdOption = None,
    client_id_suffix: SuffixOption = None,
    config_hook: Annotated[
        str | None,
        typer.Option(metavar="MODULE.FUNCTION", help="Gets payload and topic, returns Hamilton configuration."),
    ] = None,
    as_job: Annotated[bool, typer.Option("--as-job", help="Have the bus run it; a worker does.")] = False,
    count: CountOption = None,
    timeout: TimeoutOption = None,
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
    style: FormatOption = "table",
    base_dir: BaseDirOption = None,
    storage_options: StorageOptionsOption = None,
) -> None:
    """Run a pipeline for each message on a topic, here and now, until Ctrl-C.

    The pipeline's on_message hooks read the message; without any, the fields of its JSON are the inputs. A message is
    acknowledged when its run has ended, or with --as-job when the bus has accepted it. The exit code is 5 when
    --timeout passed without any message.
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
    if (where := topic or topic_option) is None:
        raise typer.BadParameter("say which topic.", param_hint="TOPIC")
    place = Place(where, host, port, username, password, clean_session, qos, client_id, client_id_suffix)
    from .message_runs import Listener, Reader

    with talking(style):
        project = load_at(base_dir, storage_options)
        reader = Reader.of(project, name, where, settings, config_hook)
    with _control(str(project.folder), as_job=as_job) as control, listening(place, str(project.folder)) as (bus, inbox):
        lasting = None if clean_session else bus.client_id
        serve(bus, inbox, Listener(project, reader, control, lasting, style).handle, count, timeout)


@contextlib.contextmanager
def _control(project: str, *, as_job: bool) -> "Generator[Control | None]":
    if not as_job:
        yield None
        return
    with connected(project) as control:
        yield control
