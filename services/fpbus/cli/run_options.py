"""Options that say how one run is to be, for all commands that start runs or plan them."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .inputs import make_settings, read_adapters, read_inputs, read_kind, read_names, read_object, read_switch
from .options import Level

if TYPE_CHECKING:
    from fpbus.schemas import RunSettings

InputOption = Annotated[
    list[str] | None,
    typer.Option("--input", metavar="KEY=VALUE", help="One input; JSON, or else a string. May be repeated."),
]
InputsOption = Annotated[
    str | None,
    typer.Option("--inputs", metavar="JSON", help="Inputs as a JSON object, @file, or - for standard input."),
]
FinalVarsOption = Annotated[
    str | None,
    typer.Option("--final-vars", "--outputs", "-o", metavar="NAMES", help="The outputs wanted: a,b or a JSON list."),
]
ConfigOption = Annotated[
    str | None,
    typer.Option("--config", metavar="JSON", help="For Hamilton's configuration, as @config.when asks for it."),
]
CacheOption = Annotated[
    str | None, typer.Option("--cache", metavar="true|false|JSON", help="Keep and use results of nodes.")
]
ExecutorOption = Annotated[
    str | None,
    typer.Option(
        "--executor", metavar="NAME|JSON", help="local, threadpool, processpool, ray, dask; or with its settings."
    ),
]
AdapterOption = Annotated[
    str | None, typer.Option("--with-adapter", metavar="JSON", help='Switch adapters on and off: {"mlflow": true}.')
]
RetriesOption = Annotated[int | None, typer.Option("--max-retries", min=0, help="Tries after the first.")]
DelayOption = Annotated[
    float | None, typer.Option("--retry-delay", metavar="SECONDS", min=0, help="Between two tries.")
]
JitterOption = Annotated[float | None, typer.Option("--jitter-factor", min=0, max=1, help="By which the delay varies.")]
RunLogLevelOption = Annotated[
    Level | None,
    typer.Option("--log-level", metavar="LEVEL", case_sensitive=False, help="Of the run: DEBUG, INFO, WARNING ..."),
]


def settings_of_run(  # noqa: PLR0917 (as many as there are options)
    input_: list[str] | None,
    inputs: str | None,
    final_vars: str | None,
    config: str | None,
    cache: str | None,
    executor: str | None,
    with_adapter: str | None,
    max_retries: int | None,
    retry_delay: float | None,
    jitter_factor: float | None,
    log_level: Any,
) -> "RunSettings":
    """Make settings of what was typed; raise a usage error that names the option which does not fit."""
    return make_settings(
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


def settings_given(settings: "RunSettings") -> dict[str, Any]:
    """Return those settings that say something."""
    named = ((name, getattr(settings, name)) for name in settings.__struct_fields__)
    return {name: value for name, value in named if value is not None}
