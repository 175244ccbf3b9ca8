"""What can be chosen for one run, by whoever asks for it."""

from typing import Annotated, Any, Final, Literal, Self

import msgspec
from msgspec import Meta, Struct

#: Thirty years: what every timer and every time to live can hold, and infinity is beyond.
MOST_SECONDS: Final = 1e9

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
Retries = Annotated[int, Meta(ge=0)]
Delay = Annotated[float, Meta(ge=0, le=MOST_SECONDS)]
Jitter = Annotated[float, Meta(ge=0, le=1)]
Timeout = Annotated[float, Meta(gt=0, le=MOST_SECONDS)]


class RunSettings(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Settings of one run. None means: as the pipeline's configuration says.

    What is given is laid over the configuration: inputs, `config`, `cache`, `executor` and `with_adapter` key
    by key, everything else whole. `max_retries` counts the tries after the first; delays are in seconds.

    >>> RunSettings().with_inputs(celsius=25).with_executor("threadpool", max_workers=4).with_retries(2, delay=0.5)
    RunSettings(inputs={'celsius': 25}, executor={'type': 'threadpool', 'max_workers': 4}, max_retries=2, ...)
    """

    inputs: dict[str, Any] | None = None
    final_vars: list[str] | None = None
    config: dict[str, Any] | None = None
    cache: bool | dict[str, Any] | None = None
    executor: str | dict[str, Any] | None = None
    with_adapter: dict[str, Any] | None = None
    max_retries: Retries | None = None
    retry_delay: Delay | None = None
    jitter_factor: Jitter | None = None
    retry_exceptions: list[str] | None = None
    timeout_s: Timeout | None = None
    log_level: LogLevel | None = None

    def with_inputs(self, **inputs: Any) -> Self:
        """Give inputs, beside those given before."""
        return msgspec.structs.replace(self, inputs={**(self.inputs or {}), **inputs})

    def with_final_vars(self, *names: str) -> Self:
        """Choose the outputs."""
        return msgspec.structs.replace(self, final_vars=list(names))

    def with_config(self, **config: Any) -> Self:
        """Give values for Hamilton's configuration, as `@config.when` asks for them."""
        return msgspec.structs.replace(self, config={**(self.config or {}), **config})

    def with_cache(self, enabled: bool = True, /, **settings: Any) -> Self:  # noqa: FBT001, FBT002 (on or off)
        """Switch the cache on or off, or on with settings such as `recompute=["raw_data"]`."""
        return msgspec.structs.replace(self, cache=settings if enabled and settings else enabled)

    def with_executor(self, kind: str, /, **settings: Any) -> Self:
        """Choose local, threadpool, processpool, ray or dask, with settings such as `max_workers=4`."""
        return msgspec.structs.replace(self, executor={"type": kind, **settings})

    def with_adapter_switched(self, **switches: bool) -> Self:
        """Switch adapters on and off: `mlflow=True`."""
        return msgspec.structs.replace(self, with_adapter={**(self.with_adapter or {}), **switches})

    def with_retries(
        self, most: int, /, *, delay: float | None = None, jitter: float | None = None, on: list[str] | None = None
    ) -> Self:
        """Try again up to `most` times after the first, `delay` seconds apart, for the exceptions named in `on`."""
        named = {"retry_delay": delay, "jitter_factor": jitter, "retry_exceptions": on}
        changes = {name: value for name, value in named.items() if value is not None}
        return msgspec.structs.replace(self, max_retries=most, **changes)

    def with_log_level(self, level: LogLevel) -> Self:
        return msgspec.structs.replace(self, log_level=level)
