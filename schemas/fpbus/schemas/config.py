"""The two YAML files of a project. Every key that may be null falls back to its default."""

from operator import attrgetter
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Meta, Struct

from .adapters import AdapterConfig, Port
from .codes import Priority
from .lanes import QueueLabel, QueueNames, read_lanes
from .layers import lay
from .names import PipelineName
from .schedules import ScheduleConfig
from .settings import MOST_SECONDS, Delay, Jitter, LogLevel, Retries, RunSettings, Timeout
from .triggers import TriggerConfig


class _Section(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A mapping in a YAML file; a key that it does not know is an error."""


class LimitsConfig(_Section, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`limits:` in `conf/project.yml`: what the dispatcher refuses and how long it remembers."""

    payload_bytes: Annotated[int, Meta(ge=1024)] = 1024 * 1024
    nesting: Annotated[int, Meta(ge=1, le=500)] = 64
    dedup_window_s: Annotated[float, Meta(ge=60, le=MOST_SECONDS)] = 24 * 3600.0
    job_timeout_s: Timeout = 3600.0
    lost_attempts: Annotated[int, Meta(ge=1)] = 3


class HistoryConfig(_Section, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`history:` in `conf/project.yml`: for how long after their end, and how many runs are kept with their files."""

    keep_days: Annotated[float, Meta(gt=0, le=100_000)] | None = None
    keep_runs: Annotated[int, Meta(ge=1)] | None = None


class RunnerConfig(_Section, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`runner:` in `conf/project.yml`. A worker that is silent for `lease_s` is lost. No `queues` are all queues."""

    queues: QueueNames | None = None
    workers: Annotated[int, Meta(ge=1, le=1024)] = 1
    lease_s: Annotated[float, Meta(ge=1, le=MOST_SECONDS)] = 10.0
    grace_s: Annotated[float, Meta(ge=1, le=MOST_SECONDS)] = 30.0
    runs_per_horse: Annotated[int, Meta(ge=1)] = 100_000

    def __post_init__(self) -> None:
        """Refuse names that no queue can have."""
        read_lanes(self.queues)


class BackendConfig(_Section, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`job_queue.backend:`, the Redis server in parts; `uri` says it whole and wins."""

    type: Literal["redis"] = "redis"
    uri: str | None = None
    host: str = "localhost"
    port: Port = 6379
    database: Annotated[int, Meta(ge=0)] = 0
    username: str | None = None
    password: str | None = None
    ssl: bool = False
    verify_ssl: bool = True
    cert_file: str | None = None
    key_file: str | None = None
    ca_file: str | None = None
    queues: QueueNames | None = None

    def __post_init__(self) -> None:
        """Refuse names that no queue can have."""
        read_lanes(self.queues)


class QueueConfig(_Section, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One Redis with its workers. `redis_host`, `redis_port` and `queues` are short for those of `backend`."""

    type: Literal["rq"] = "rq"
    queues: QueueNames | None = None
    num_workers: Annotated[int, Meta(ge=1, le=1024)] | None = None
    redis_host: str | None = None
    redis_port: Port | None = None
    backend: BackendConfig | None = None

    def __post_init__(self) -> None:
        """Refuse names that no queue can have."""
        read_lanes(self.queues)

    @property
    def served(self) -> QueueNames | None:
        """The queues that its workers serve; None for all."""
        return self.queues or (self.backend.queues if self.backend else None) or None

    @property
    def redis_url(self) -> str | None:
        """The URL of the Redis server, as redis-py reads it; None where no part of it is said."""
        backend = self.backend
        if backend is None and self.redis_host is None and self.redis_port is None:
            return None
        backend = backend or BackendConfig()
        if backend.uri:
            return backend.uri
        user = quote(backend.username or "", safe="")
        login = f"{user}:{quote(backend.password, safe='')}@" if backend.password else f"{user}@" if user else ""
        place = f"{self.redis_host or backend.host}:{self.redis_port or backend.port}"
        return f"redis{'s' if backend.ssl else ''}://{login}{place}/{backend.database}{_tls_query(backend)}"


def _tls_query(backend: BackendConfig) -> str:
    if not backend.ssl:
        return ""
    files = {"ssl_certfile": backend.cert_file, "ssl_keyfile": backend.key_file, "ssl_ca_certs": backend.ca_file}
    options = {name: file for name, file in files.items() if file}
    return "?" + urlencode({"ssl_cert_reqs": "required" if backend.verify_ssl else "none", **options})


class ProfileConfig(QueueConfig, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One of `job_queue.profiles`: with a Redis of its own a bus of its own, without one some queues of this bus.

    The URLs are where a bus of its own keeps its history and its schedules.
    """

    history_url: str | None = None
    schedules_url: str | None = None


class JobQueueConfig(QueueConfig, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`job_queue:` in `conf/project.yml`. `profiles` are further ones, chosen by `--name`."""

    profiles: dict[QueueLabel, ProfileConfig] = {}


class ProjectCacheConfig(_Section, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`cache:` in `conf/project.yml`. A cache file that holds a pickle can run code when it is read."""

    allow_pickle: bool = False
    url: str | None = None


class HookConfig(_Section, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A function to call at a moment of a run: `function` is a dotted name, as `hooks.audit.note`."""

    type: Literal[
        "before_run",
        "after_run",
        "before_node",
        "after_node",
        "on_success",
        "on_failure",
        "on_message",
        "message_config",
    ]
    function: str


class ExecutorConfig(_Section, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`run.executor`. `max_workers` is for the pools, `num_cpus` for Ray, `address` a running Ray or Dask cluster."""

    type: Literal["local", "synchronous", "threadpool", "processpool", "ray", "dask"] = "local"
    max_workers: Annotated[int, Meta(ge=1)] | None = None
    num_cpus: Annotated[float, Meta(gt=0)] | None = None
    address: str | None = None


CacheBehavior = Literal["default", "recompute", "disable", "ignore"]


class CacheConfig(_Section, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`run.cache` in parts, as Hamilton's `with_cache` has them: node names, or true for all nodes."""

    recompute: bool | list[str] = False
    ignore: bool | list[str] = False
    disable: bool | list[str] = False
    default: bool | list[str] = False
    default_behavior: CacheBehavior = "default"
    default_loader_behavior: CacheBehavior | None = None
    default_saver_behavior: CacheBehavior | None = None


class RunConfig(_Section, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`run:` of a pipeline: how it runs when nobody says otherwise.

    `max_retries` counts the tries after the first. The delay before the n-th of them, in seconds, is
    `retry_delay * backoff ** (n - 1) * (1 + random.uniform(-jitter_factor, jitter_factor))`.

    `queue` is for workers that serve it; a message cannot choose it.
    """

    inputs: dict[str, Any] = {}
    final_vars: list[str] = []
    config: dict[str, Any] = {}
    cache: bool | CacheConfig = False
    with_adapter: dict[str, bool] = {}
    executor: ExecutorConfig = ExecutorConfig()
    additional_modules: list[str] = []
    async_driver: bool = False
    log_level: LogLevel | None = None
    max_retries: Retries = 0
    retry_delay: Delay = 5.0
    jitter_factor: Jitter = 0.0
    backoff: Annotated[float, Meta(ge=1, le=1000)] = 1.0
    retry_exceptions: list[str] = []
    timeout_s: Timeout | None = None
    priority: Priority = Priority.DEFAULT
    queue: QueueLabel | None = None

    def __post_init__(self) -> None:
        """Refuse a priority in the place of a queue."""
        if self.queue in {Priority.HIGH, Priority.LOW}:
            raise ValueError(f"queue is {self.queue!r}, which is a priority: say `priority: {self.queue}`")

    def override(self, settings: RunSettings) -> "RunConfig":
        """Lay the settings of one run over these; raise `msgspec.ValidationError` for what does not fit."""
        named = zip(RunSettings.__struct_fields__, _SETTINGS_OF(settings), strict=True)
        above = {name: value for name, value in named if value is not None}
        below = {name: getattr(self, name) for name in above}
        parts = {name: msgspec.to_builtins(below[name]) for name in above if name in _PARTS}
        merged = lay({**below, **parts}, above)
        checked = {name: msgspec.convert(merged[name], kind) for name, kind in _PARTS.items() if name in above}
        return msgspec.structs.replace(self, **{**merged, **checked}) if above else self


_SETTINGS_OF: Final = attrgetter(*RunSettings.__struct_fields__)

#: What a request says in short forms, and its configuration in Structs.
_PARTS: Final[dict[str, Any]] = {
    "cache": bool | CacheConfig,
    "executor": ExecutorConfig,
    "with_adapter": dict[str, bool],
}


Override = Literal[
    "config",
    "cache",
    "executor",
    "with_adapter",
    "max_retries",
    "retry_delay",
    "jitter_factor",
    "retry_exceptions",
    "timeout_s",
    "log_level",
]


class RateConfig(_Section, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`limits.rate` in parts: so many starts in so many seconds, spread evenly."""

    runs: Annotated[float, Meta(gt=0, le=1e6)]
    per_s: Annotated[float, Meta(gt=0, le=MOST_SECONDS)] = 1.0


_RATE_UNITS: Final = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}


class PipelineLimits(_Section, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`limits:` of a pipeline: how many of its runs may run at the same time, of all and of one `key`.

    What becomes of one more, `when_full` says: it waits, the oldest one is cancelled for it, or it is skipped. `rate`
    is how often runs start, such as `100/min`, also per s, h or d; those that come faster wait.
    """

    max_running: Annotated[int, Meta(ge=1)] | None = None
    max_running_per_key: Annotated[int, Meta(ge=1)] | None = None
    when_full: Literal["queue", "cancel-running", "skip"] = "queue"
    rate: Annotated[str, Meta(pattern=r"^\d{1,6}(\.\d{1,6})?/(s|min|h|d)$")] | RateConfig | None = None

    def __post_init__(self) -> None:
        """Refuse a rate at which nothing would ever run."""
        if self.per_s is not None and self.per_s <= 0:
            raise ValueError("a rate must be above 0")

    @property
    def per_s(self) -> float | None:
        """Starts per second; None without a rate."""
        if isinstance(self.rate, str):
            runs, _, unit = self.rate.partition("/")
            return float(runs) / _RATE_UNITS[unit]
        return self.rate.runs / self.rate.per_s if self.rate else None


class FollowUp(_Section, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A pipeline to run when a run has ended. Each of its `inputs` is taken from that run and its result.

    A value is a path such as `outputs.total`, `outputs.report.lines.0`, `inputs.celsius`, `run_id` or `error.message`.
    An output that is not JSON, or too large for a message, is given as the URL of its file.
    """

    pipeline: PipelineName
    inputs: dict[str, str] = {}


class PipelineConfig(_Section, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`conf/pipelines/<name>.yml`, as it is when the project's file and the environment are below and above it.

    `params` reach the functions by argument name, below inputs. `on_success` and `on_failure` name pipelines that run
    next; a run that was cancelled has no next one.
    """

    run: RunConfig = RunConfig()
    schedule: ScheduleConfig | None = None
    triggers: list[TriggerConfig] = []
    params: dict[str, Any] = {}
    adapter: AdapterConfig = AdapterConfig()
    hooks: list[HookConfig] = []
    limits: PipelineLimits = PipelineLimits()
    on_success: list[PipelineName | FollowUp] = []
    on_failure: list[PipelineName | FollowUp] = []
    allow_overrides: list[Override] = []


class ProjectConfig(_Section, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`conf/project.yml`. `run`, `adapter` and `hooks` are for all pipelines, whose own lie over them.

    The URLs with their credentials, `root` and the log settings are what the environment variables of the same names
    say, below those.
    """

    name: str
    timezone: str = "UTC"
    hooks_dir: str = "hooks"
    mqtt_url: str | None = None
    mqtt_username: str | None = None
    mqtt_password: str | None = None
    mqtt_password_file: str | None = None
    mqtt_ca_file: str | None = None
    mqtt_cert_file: str | None = None
    mqtt_key_file: str | None = None
    redis_url: str | None = None
    redis_username: str | None = None
    redis_password: str | None = None
    redis_password_file: str | None = None
    redis_ca_file: str | None = None
    redis_cert_file: str | None = None
    redis_key_file: str | None = None
    allow_insecure: bool = False
    allow_volatile: bool = False
    history_url: str | None = None
    schedules_url: str | None = None
    storage_url: str | None = None
    storage_options: dict[str, Any] = {}
    root: str | None = None
    log_level: LogLevel | None = None
    log_format: Literal["console", "json"] | None = None
    job_queue: JobQueueConfig = JobQueueConfig()
    run: RunConfig = RunConfig()
    adapter: AdapterConfig = AdapterConfig()
    hooks: list[HookConfig] = []
    cache: ProjectCacheConfig = ProjectCacheConfig()
    limits: LimitsConfig = LimitsConfig()
    history: HistoryConfig = HistoryConfig()
    runner: RunnerConfig = RunnerConfig()
