"""FlowerPower's manual, the chapters that need no bus: its commands, files and modules do here what it says they do."""

import json
from pathlib import Path
from typing import Any

import pytest

from fpbus.project import load_pipeline, load_project
from support.commands import Commands, Done

PROJECT_YML = """
name: my_data_project

job_queue:
  type: rq

adapter:
  hamilton_tracker:
    username: user@example.com
    api_url: https://hamilton.example.com/api
    ui_url: https://hamilton.example.com
    api_key: your_secret_api_key
    verify: true
  mlflow:
    tracking_uri: http://localhost:5000
"""
#: What the manual has as comments in that file.
MORE_YML = """
name: my_data_project
job_queue:
  type: rq
  redis_host: localhost
  redis_port: 6379
adapter:
  opentelemetry:
    host: localhost
    port: 4317
  ray:
    ray_init_config:
      address: 'auto'
    shutdown_ray_on_completion: true
"""
PIPELINE_YML = """
run:
  inputs:
    # none by default
  final_vars:
    - "final_output"
    - "transformed_data"
  config:
    data_processing_mode: "strict"
  cache:
    recompute: ["raw_data"]
  with_adapter:
    hamilton_tracker: true
    mlflow: true
    progressbar: true
    opentelemetry: false
  executor:
    type: local
  log_level: INFO
  max_retries: 2
  retry_delay: 10.0
  jitter_factor: 0.2
  retry_exceptions: ["requests.exceptions.ConnectionError", "TransientDatabaseError"]

schedule:
  cron: "0 5 * * *"

params:
  data_path: "/mnt/shared_drive/datasets/input_data.csv"
  scale_factor: 3.14
  model_config:
    type: "linear_regression"
    fit_intercept: true
  validation_split: 0.2

adapter:
  hamilton_tracker:
    project_id: 42
    dag_name: "MyDataPipelineDailyRun"
    tags:
      owner: "data_engineering_team"
      priority: "high"
    capture_data_statistics: true
  mlflow:
    experiment_name: "customer_churn_analysis"
    run_name: "daily_prediction_{timestamp:%Y%m%d_%H%M%S}"
    tags:
      version: "1.2.0"
"""
#: The module of the manual's first example: a path with a default, a table, and that table scaled.
DEFAULTS_PY = """
import pandas as pd


def data_source_path(default_path: str = "data/input.csv") -> str:
    return default_path


def raw_data(data_source_path: str) -> pd.DataFrame:
    if data_source_path == "data/input.csv":
        return pd.DataFrame({'value': [1, 2, 3, 4, 5]})
    return pd.read_csv(data_source_path)


def transformed_data(raw_data: pd.DataFrame, scale_factor: float = 2.0) -> pd.DataFrame:
    transformed = raw_data.copy()
    transformed['value'] = raw_data['value'] * scale_factor
    return transformed


def final_output(transformed_data: pd.DataFrame) -> pd.DataFrame:
    return transformed_data
"""
#: That of its second one: the path comes from params.
PARAMS_PY = """
import pandas as pd


def raw_data(data_path: str) -> pd.DataFrame:
    return pd.read_csv(data_path)


def transformed_data(raw_data: pd.DataFrame, scale_factor: float) -> pd.DataFrame:
    transformed = raw_data.copy()
    transformed['value'] = raw_data['value'] * scale_factor
    return transformed


def final_output(transformed_data: pd.DataFrame) -> pd.DataFrame:
    return transformed_data
"""
#: And that of the chapter on params, whose last function does not say what it returns.
UNHINTED_PY = """
import pandas as pd


def load_data(data_path: str) -> pd.DataFrame:
    return pd.read_parquet(data_path)


def process_data(raw_data: pd.DataFrame, processing_options: dict) -> pd.DataFrame:
    if processing_options.get("enable_feature_engineering", False):
        pass
    return raw_data


def train_model(processed_data: pd.DataFrame, model_config: dict):
    print(f"Training model: {model_config['type']}")
"""
UNHINTED_YML = """
params:
  data_path: "s3://my-production-bucket/latest_data.parquet"
  scale_factor: 1.75
  processing_options:
    filter_threshold: 0.95
    enable_feature_engineering: true
  model_config:
    type: "random_forest"
    estimators: 150
    max_depth: 10
"""
#: A module that has what the manual's command lines for a run ask for.
REPORT_PY = """
import logging

from hamilton.function_modifiers import config

log = logging.getLogger(__name__)


def processed_report(date: str, region: str) -> str:
    log.debug("a report for %s", region)
    return f"{region} on {date}"


@config.when(data_source_type="production")
def source__production() -> str:
    return "production"


@config.when_not(data_source_type="production")
def source__other() -> str:
    return "a sample"


def raw_data_loader(target_date: str, user_id: int) -> str:
    with open("loaded", "a") as file:
        file.write("x")
    return f"{user_id} at {target_date}"


def final_model_output(raw_data_loader: str) -> str:
    return raw_data_loader


def data_quality_report(raw_data_loader: str) -> int:
    return len(raw_data_loader)
"""
QUIET = ("--with-adapter", '{"tracker": false, "mlflow": false, "progressbar": false}')


@pytest.fixture
def fpbus(tmp_path: Path) -> Commands:
    assert Commands(tmp_path)("init", "--name", "my_data_project").code == 0
    return Commands(tmp_path / "my_data_project")


def put(fpbus: Commands, name: str, module: str, config: str) -> None:
    assert fpbus("pipeline", "new", name).code == 0
    (fpbus.folder / f"pipelines/{name}.py").write_text(module)
    (fpbus.folder / f"conf/pipelines/{name}.yml").write_text(config)


def outputs_of(done: Done) -> dict[str, Any]:
    assert done.code == 0, done.told
    outputs: dict[str, Any] = json.loads(done.out)
    return outputs


# Project setup.

MADE = {"conf/project.yml", "pipelines/__init__.py", "hooks/__init__.py", "README.md"}


def made_in(folder: Path) -> set[str]:
    assert (folder / "conf/pipelines").is_dir()
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_init_makes_a_named_project_in_the_folder_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()

    done = Commands(tmp_path)("init", "--name", "shop", "--base-dir", "work", "--job-queue-type", "rq")

    assert (done.code, made_in(tmp_path / "work/shop") >= MADE) == (0, True)
    assert load_project(tmp_path / "work/shop").name == "shop"


@pytest.mark.parametrize("options", [(), ("--job-queue-type", "rq")])
def test_init_alone_makes_the_folder_a_project(tmp_path: Path, options: tuple[str, ...]) -> None:
    folder = tmp_path / "my_project"
    folder.mkdir()

    done = Commands(folder)("init", *options)

    assert (done.code, made_in(folder) >= MADE, load_project(folder).name) == (0, True, "my_project")
    assert load_project(folder).job_queue.type == "rq"


def test_the_projects_file_loads_as_it_stands_and_its_key_is_shown_to_nobody(fpbus: Commands) -> None:
    (fpbus.folder / "conf/project.yml").write_text(PROJECT_YML)

    tracker = load_project(fpbus.folder).adapter.hamilton_tracker
    shown = fpbus("pipeline", "show-summary", "--format", "json")

    assert (tracker.username, tracker.api_key, tracker.verify) == ("user@example.com", "your_secret_api_key", True)
    assert load_project(fpbus.folder).adapter.mlflow.tracking_uri == "http://localhost:5000"
    assert (shown.code, "your_secret_api_key" in shown.out, "user@example.com" in shown.out) == (0, False, True)


def test_what_stands_there_as_comments_works_too(fpbus: Commands) -> None:
    (fpbus.folder / "conf/project.yml").write_text(MORE_YML)

    project = load_project(fpbus.folder)

    assert project.job_queue.redis_url == "redis://localhost:6379/0"
    assert project.adapter.opentelemetry.port == 4317
    assert project.adapter.ray.ray_init_config == {"address": "auto"}
    assert project.adapter.ray.shutdown_ray_on_completion


# Creating and configuring pipelines.


def test_new_makes_a_module_and_a_file_that_run(fpbus: Commands) -> None:
    done = fpbus("pipeline", "new", "data_processing_main")

    assert (done.code, len(done.out.split())) == (0, 2)
    assert outputs_of(fpbus("pipeline", "run", "data_processing_main", "--format", "json")) == {"total": 12.0}


def test_the_pipelines_file_loads_as_it_stands(fpbus: Commands) -> None:
    put(fpbus, "my_data_pipeline", DEFAULTS_PY, PIPELINE_YML)

    pipeline = load_pipeline(fpbus.folder, "my_data_pipeline")

    assert (pipeline.run.inputs, pipeline.run.max_retries, pipeline.run.retry_delay) == ({}, 2, 10.0)
    assert pipeline.run.retry_exceptions == ["requests.exceptions.ConnectionError", "TransientDatabaseError"]
    assert pipeline.schedule is not None
    assert pipeline.schedule.cron == "0 5 * * *"
    assert pipeline.adapter.hamilton_tracker.project_id == 42
    assert pipeline.adapter.mlflow.tags == {"version": "1.2.0"}


def test_the_first_module_runs_with_the_whole_file(fpbus: Commands) -> None:
    put(fpbus, "my_data_pipeline", DEFAULTS_PY, PIPELINE_YML)

    outputs = outputs_of(fpbus("pipeline", "run", "my_data_pipeline", *QUIET, "--format", "json"))

    assert set(outputs) == {"final_output", "transformed_data"}
    assert [row["value"] for row in rows(outputs["final_output"])] == pytest.approx([3.14, 6.28, 9.42, 12.56, 15.7])


def rows(table: Any) -> list[dict[str, Any]]:
    """Return the rows of a table, however JSON has it."""
    if isinstance(table, list):
        return table
    columns = {name: list(column.values() if isinstance(column, dict) else column) for name, column in table.items()}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def test_the_second_module_takes_its_path_from_params_or_from_whoever_asks(fpbus: Commands, tmp_path: Path) -> None:
    put(fpbus, "my_data_pipeline", PARAMS_PY, PIPELINE_YML)
    (tmp_path / "input.csv").write_text("value\n1\n2\n")
    run = ("pipeline", "run", "my_data_pipeline", *QUIET, "--format", "json")

    given = outputs_of(fpbus(*run, "--inputs", json.dumps({"data_path": str(tmp_path / "input.csv")})))
    missing = fpbus(*run, "--max-retries", "0")

    assert [row["value"] for row in rows(given["final_output"])] == pytest.approx([3.14, 6.28])
    assert (missing.code, "/mnt/shared_drive/datasets/input_data.csv" in missing.told) == (1, True)
    assert "raw_data" in missing.told, "the node"


def test_a_function_that_does_not_say_what_it_returns_is_named(fpbus: Commands) -> None:
    put(fpbus, "models", UNHINTED_PY, UNHINTED_YML)

    done = fpbus("pipeline", "run", "models")

    assert done.code == 8
    assert "train_model" in done.told
    assert "Traceback" not in done.told


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("run", "inputs", '{ "user_id": 123, "target_date": "2024-01-15" }'),
        ("run", "final_vars", '["final_output", "validation_summary"]'),
        ("run", "config", '{ "data_version": "v2", "feature_set": "extended" }'),
        ("run", "cache", "true"),
        ("run", "cache", '{recompute: ["node_to_always_recompute", "another_node"]}'),
        ("run", "with_adapter", "{hamilton_tracker: true, mlflow: true, progressbar: true, ray: false}"),
        *[("run", "executor", f"{{type: {kind}}}") for kind in ("local", "threadpool", "processpool", "ray", "dask")],
        ("run", "executor", "{type: threadpool, max_workers: 4}"),
        ("run", "executor", "{type: ray, num_cpus: 4}"),
        *[("run", "log_level", level) for level in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")],
        ("schedule", "cron", '"0 */2 * * *"'),
        ("schedule", "cron", '{minute: "0", hour: "*/2"}'),
        ("schedule", "cron", '{minute: "0", hour: "3", day_of_week: "mon-fri"}'),
        ("schedule", "interval", "90"),
        *[("schedule", "interval", f'"{span}"') for span in ("2h", "30m", "1h30m")],
        ("schedule", "interval", "{hours: 4, minutes: 30}"),
        ("schedule", "date", '"2034-07-01T10:00:00"'),
    ],
)
def test_what_the_manual_shows_of_a_key_is_taken(fpbus: Commands, section: str, key: str, value: str) -> None:
    put(fpbus, "shown", REPORT_PY, f"{section}:\n  {key}: {value}\n")

    assert fpbus("pipeline", "show-summary", "--name", "shown", "--format", "json").code == 0
    assert getattr(getattr(load_pipeline(fpbus.folder, "shown"), section), key)


# Running pipelines.


@pytest.fixture
def report(fpbus: Commands) -> Commands:
    put(fpbus, "my_data_pipeline", REPORT_PY, "run:\n  inputs: {target_date: '2024-03-15', user_id: 123}\n")
    return fpbus


def test_the_example_of_a_run_does_what_it_says(report: Commands) -> None:
    done = report(
        "pipeline",
        "run",
        "my_data_pipeline",
        "--inputs",
        '{"date": "2023-01-15", "region": "emea"}',
        "--final-vars",
        '["processed_report"]',
        "--log-level",
        "DEBUG",
    )

    assert done.code == 0, done.told
    assert done.out.split("\n")[1].split(None, 1) == ["processed_report", '"emea on 2023-01-15"']
    assert "a report for emea" in done.told


BOTH = ("--final-vars", '["final_model_output", "data_quality_report"]')


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            (*BOTH, "--inputs", '{"target_date": "2024-03-15", "user_id": 124}'),
            {"final_model_output": "124 at 2024-03-15", "data_quality_report": 17},
        ),
        (("--final-vars", '["source"]', "--config", '{"data_source_type": "production"}'), {"source": "production"}),
        (("--final-vars", '["source"]'), {"source": "a sample"}),
        *[
            ((*BOTH, "--executor", executor), {"final_model_output": "123 at 2024-03-15", "data_quality_report": 17})
            for executor in ("local", "threadpool", "processpool", '{"type": "threadpool", "max_workers": 4}')
        ],
        (
            (*BOTH, "--max-retries", "1", "--retry-delay", "0.5", "--jitter-factor", "0.1"),
            {"final_model_output": "123 at 2024-03-15", "data_quality_report": 17},
        ),
    ],
)
def test_each_option_of_a_run_is_for_this_run(
    report: Commands, options: tuple[str, ...], expected: dict[str, Any]
) -> None:
    before = load_pipeline(report.folder, "my_data_pipeline")

    assert outputs_of(report("pipeline", "run", "my_data_pipeline", "--format", "json", *options)) == expected
    assert load_pipeline(report.folder, "my_data_pipeline") == before


def test_a_run_can_use_the_cache_or_compute_a_node_anew(report: Commands) -> None:
    def loaded_with(cache: str) -> int:
        assert report("pipeline", "run", "my_data_pipeline", *BOTH, "--cache", cache).code == 0
        return len((report.folder / "loaded").read_text())

    assert [loaded_with("true"), loaded_with("true")] == [1, 1]
    assert [loaded_with("false"), loaded_with('{"recompute": ["raw_data_loader"]}')] == [2, 3]


def test_adapters_are_switched_for_one_run(report: Commands) -> None:
    options = ("--with-adapter", '{"hamilton_tracker": true, "mlflow": false, "progressbar": true}')

    done = report("pipeline", "run", "my_data_pipeline", *BOTH, *options)

    assert done.code == 0, "an adapter costs no run"
    assert done.told.count("adapter hamilton_tracker") == 1
