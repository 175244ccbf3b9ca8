"""The two YAML files of a project. Every key that may be null falls back to its default."""

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from .codes import Priority

#: Thirty years: what every timer and every time to live can hold, and infinity is beyond.
MOST_SECONDS: Final = 1e9


class _Section(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A mapping in a YAML file; a key that it does not know is an error."""


class LimitsConfig(_Section, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`limits:` in `conf/project.yml`: what the dispatcher refuses and how long it remembers."""

    payload_bytes: Annotated[int, Meta(ge=1024)] = 1024 * 1024
    nesting: Annotated[int, Meta(ge=1, le=500)] = 64
    dedup_window_s: Annotated[float, Meta(ge=60, le=MOST_SECONDS)] = 24 * 3600.0
    job_timeout_s: Annotated[float, Meta(gt=0, le=MOST_SECONDS)] = 3600.0
    lost_attempts: Annotated[int, Meta(ge=1)] = 3


class RunnerConfig(_Section, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`runner:` in `conf/project.yml`. A worker that is silent for `lease_s` is lost."""

    workers: Annotated[int, Meta(ge=1, le=1024)] = 1
    lease_s: Annotated[float, Meta(ge=1, le=MOST_SECONDS)] = 10.0
    runs_per_horse: Annotated[int, Meta(ge=1)] = 100_000


class JobQueueConfig(_Section, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`job_queue:` in `conf/project.yml`."""

    type: Literal["rq"] = "rq"


class ProjectConfig(_Section, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`conf/project.yml`."""

    name: str
    timezone: str = "UTC"
    job_queue: JobQueueConfig | None = None
    limits: LimitsConfig | None = None
    runner: RunnerConfig | None = None


class RunConfig(_Section, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`run:` of a pipeline: its defaults, which a request may change where it is allowed to.

    `max_retries` counts the tries after the first. The delay before a retry, in seconds, is
    `retry_delay * (1 + random.uniform(-jitter_factor, jitter_factor))`.
    """

    inputs: dict[str, Any] | None = None
    final_vars: list[str] | None = None
    config: dict[str, Any] | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] | None = None
    max_retries: Annotated[int, Meta(ge=0)] = 0
    retry_delay: Annotated[float, Meta(ge=0, le=MOST_SECONDS)] = 5.0
    jitter_factor: Annotated[float, Meta(ge=0, le=1)] = 0.0
    retry_exceptions: list[str] | None = None
    timeout_s: Annotated[float, Meta(gt=0, le=MOST_SECONDS)] | None = None
    priority: Priority = Priority.DEFAULT


class IntervalFields(_Section, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """An interval in parts, as in `interval: {hours: 4, minutes: 30}`."""

    weeks: float = 0
    days: float = 0
    hours: float = 0
    minutes: float = 0
    seconds: float = 0


class ScheduleConfig(_Section, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`schedule:` of a pipeline: one of `cron` and `interval`, and the IANA zone that cron counts in."""

    cron: str | None = None
    interval: float | str | IntervalFields | None = None
    timezone: str | None = None
    enabled: bool = True


Override = Literal[
    "config", "max_retries", "retry_delay", "jitter_factor", "retry_exceptions", "timeout_s", "log_level"
]


class PipelineConfig(_Section, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`conf/pipelines/<name>.yml`. `params` reach the functions by argument name, below inputs."""

    run: RunConfig | None = None
    schedule: ScheduleConfig | None = None
    params: dict[str, Any] | None = None
    allow_overrides: list[Override] | None = None
