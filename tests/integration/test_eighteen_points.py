"""What FlowerPower's manual states and FlowerPower does not do, is so here: the points that need no bus."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from mlflow import MlflowClient

from fpbus.pipelines import override
from fpbus.project import load_pipeline, load_project
from fpbus.schemas import CacheConfig, RunConfig, RunSettings
from support.commands import Commands

STEPS = """
import threading
from pathlib import Path

from mlflow.utils.autologging_utils import autologging_is_disabled


def total(amount: int, rate: int, labels: dict) -> str:
    with open(Path(__file__).parent / "computed", "a") as file:
        file.write("x")
    return f"{amount * rate} {labels['unit']}"


def where(amount: int) -> str:
    return threading.current_thread().name


def logged_by_itself() -> bool:
    return not autologging_is_disabled("mlflow")
"""
CONFIG: dict[str, Any] = {
    "run": {"inputs": {"amount": 2}, "final_vars": ["total"]},
    "params": {"rate": 3, "labels": {"unit": "kg"}},
}


@pytest.fixture
def fpbus(tmp_path: Path) -> Commands:
    assert Commands(tmp_path)("init", "--name", "shop").code == 0
    fpbus = Commands(tmp_path / "shop")
    (fpbus.folder / "pipelines/steps.py").write_text(STEPS)
    configure(fpbus)
    return fpbus


def configure(fpbus: Commands, **run: Any) -> None:
    config = {**CONFIG, "run": {**CONFIG["run"], **run}}
    (fpbus.folder / "conf/pipelines/steps.yml").write_text(yaml.safe_dump(config))


def outputs_of(fpbus: Commands, *options: str) -> dict[str, Any]:
    done = fpbus("pipeline", "run", "steps", "--format", "json", *options)
    assert done.code == 0, done.told
    outputs: dict[str, Any] = json.loads(done.out)
    return outputs


def run_config(fpbus: Commands) -> RunConfig:
    return load_pipeline(fpbus.folder, "steps").run


def test_1_params_reach_the_functions_by_argument_name(fpbus: Commands) -> None:
    assert outputs_of(fpbus) == {"total": "6 kg"}
    assert outputs_of(fpbus, "--input", "rate=4") == {"total": "8 kg"}


def test_2_init_makes_both_packages(fpbus: Commands) -> None:
    assert [(fpbus.folder / name / "__init__.py").is_file() for name in ("pipelines", "hooks")] == [True, True]


def test_3_a_run_is_tried_once_by_default_and_again_after_five_seconds_without_jitter(fpbus: Commands) -> None:
    run = run_config(fpbus)
    done = fpbus("pipeline", "run", "steps", "--input", 'labels={"colour":"red"}')

    assert (run.max_retries, run.retry_delay, run.jitter_factor) == (0, 5.0, 0.0)
    assert (done.code, (fpbus.folder / "pipelines/computed").read_text()) == (1, "x")


def test_4_the_executor_is_local_by_default_and_takes_json(fpbus: Commands) -> None:
    where = ("--final-vars", "where")

    assert outputs_of(fpbus, *where) == {"where": "MainThread"}
    executor = '{"type": "threadpool", "max_workers": 1}'
    assert outputs_of(fpbus, *where, "--executor", executor) == {"where": "pipeline_0"}


def test_5_the_tracker_goes_by_its_short_name(fpbus: Commands) -> None:
    done = fpbus("pipeline", "run", "steps", "--with-adapter", '{"tracker": true}')

    assert done.code == 0, "an adapter costs no run"
    assert "adapter hamilton_tracker" in done.told


def test_6_redis_host_and_redis_port_are_keys(fpbus: Commands) -> None:
    queue = {"type": "rq", "redis_host": "redis.local", "redis_port": 6380}
    (fpbus.folder / "conf/project.yml").write_text(yaml.safe_dump({"name": "shop", "job_queue": queue}))

    assert load_project(fpbus.folder).job_queue.redis_url == "redis://redis.local:6380/0"


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
def test_14_mlflow_gets_tags_and_names_with_placeholders_and_its_own_logging(fpbus: Commands, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/runs.db"
    settings = {
        "tracking_uri": uri,
        "artifact_location": str(tmp_path / "artifacts"),
        "experiment_name": "{pipeline_name} of the shop",
        "run_name": "{pipeline_name} at {timestamp:year %Y}",
        "tags": {"team": "sales"},
        "autolog": True,
    }
    (fpbus.folder / "conf/project.yml").write_text(yaml.safe_dump({"name": "shop", "adapter": {"mlflow": settings}}))
    configure(fpbus, with_adapter={"mlflow": True}, final_vars=["logged_by_itself"])

    outputs = outputs_of(fpbus)

    store = MlflowClient(uri)
    experiment = store.get_experiment_by_name("steps of the shop")
    assert experiment is not None
    (run,) = store.search_runs([experiment.experiment_id])
    assert outputs == {"logged_by_itself": True}
    assert run.data.tags["team"] == "sales"
    assert run.info.run_name is not None
    assert run.info.run_name.startswith("steps at year 2")


def test_15_the_port_of_opentelemetry_is_otlps(fpbus: Commands) -> None:
    assert load_pipeline(fpbus.folder, "steps").adapter.opentelemetry.port == 4317


@pytest.mark.parametrize("name", ["show-pipelines", "show_pipelines"])
def test_16_commands_are_written_with_hyphens_or_underscores(fpbus: Commands, name: str) -> None:
    done = fpbus("pipeline", name, "--format", "json")

    assert done.code == 0
    assert [pipeline["name"] for pipeline in json.loads(done.out)] == ["hello", "steps"]


def test_17_what_an_override_does_not_name_stays_as_it_is(fpbus: Commands) -> None:
    executor = {"type": "threadpool", "max_workers": 3}
    configure(fpbus, with_adapter={"hamilton_tracker": True}, executor=executor)
    above = msgspec.convert({"with_adapter": {"mlflow": True}, "executor": {"type": "processpool"}}, RunSettings)

    run = override(run_config(fpbus), above)

    assert run.with_adapter == {"hamilton_tracker": True, "mlflow": True}
    assert (run.executor.type, run.executor.max_workers) == ("processpool", 3)
    assert (
        "adapter hamilton_tracker" in fpbus("pipeline", "run", "steps", "--with-adapter", '{"progressbar": false}').told
    )


def test_18_the_cache_is_what_the_yaml_says(fpbus: Commands) -> None:
    for cache, computed in ((True, "x"), ({"recompute": ["total"]}, "xxx")):
        configure(fpbus, cache=cache)
        assert [outputs_of(fpbus) for _ in range(2)] == [{"total": "6 kg"}] * 2
        assert (fpbus.folder / "pipelines/computed").read_text() == computed

    assert run_config(fpbus).cache == CacheConfig(recompute=["total"])
