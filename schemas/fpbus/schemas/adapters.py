"""`adapter:` in both files: where a run's adapters report to. The pipeline's settings lie over the project's."""

from typing import Annotated, Any

from msgspec import Meta, Struct

Port = Annotated[int, Meta(ge=1, le=65535)]


class _Section(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A mapping in a YAML file; a key that it does not know is an error."""


class HamiltonTrackerConfig(_Section, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Hamilton's UI. `project_id` must exist there; `dag_name` is the pipeline's name when it is not set."""

    username: str | None = None
    api_url: str = "http://localhost:8241"
    ui_url: str = "http://localhost:8242"
    api_key: str | None = None
    verify: bool = True
    project_id: int | None = None
    dag_name: str | None = None
    tags: dict[str, Any] = {}
    capture_data_statistics: bool = True
    max_list_length_capture: Annotated[int, Meta(ge=0)] = 50
    max_dict_length_capture: Annotated[int, Meta(ge=0)] = 10


class MlflowConfig(_Section, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """MLflow.

    Names may hold `{pipeline_name}`, `{run_id}` and `{timestamp}`, the last with a format:
    `{timestamp:%Y%m%d_%H%M%S}`. `tags` is a second name of `run_tags`; `autolog` switches MLflow's own on.
    """

    tracking_uri: str | None = None
    registry_uri: str | None = None
    artifact_location: str | None = None
    experiment_name: str | None = None
    experiment_tags: dict[str, Any] = {}
    experiment_description: str | None = None
    run_id: str | None = None
    run_name: str | None = None
    run_tags: dict[str, Any] = {}
    run_description: str | None = None
    tags: dict[str, Any] = {}
    autolog: bool = False


class OpenTelemetryConfig(_Section, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """An OTLP receiver, spoken to over gRPC. `service_name` is the project's name when it is not set."""

    host: str = "localhost"
    port: Port = 4317
    secure: bool = False
    headers: dict[str, str] = {}
    service_name: str | None = None


class RayConfig(_Section, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Ray. `ray_init_config` are the arguments of `ray.init()`."""

    ray_init_config: dict[str, Any] = {}
    shutdown_ray_on_completion: bool = False


class CustomAdapterConfig(_Section, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """An adapter of the project's own: the class by dotted name, as `hooks.audit.Audit`, and its arguments."""

    type: str
    options: dict[str, Any] = {}


class AdapterConfig(_Section, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Settings of all adapters. `custom` gives names to adapters of the project's own, for `run.with_adapter`."""

    hamilton_tracker: HamiltonTrackerConfig = HamiltonTrackerConfig()
    mlflow: MlflowConfig = MlflowConfig()
    opentelemetry: OpenTelemetryConfig = OpenTelemetryConfig()
    ray: RayConfig = RayConfig()
    custom: dict[str, CustomAdapterConfig] = {}
