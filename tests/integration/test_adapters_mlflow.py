"""Runs as MLflow keeps them: a real store, read back with MLflow's own client."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from hamilton import driver
from mlflow import MlflowClient
from mlflow.utils.autologging_utils import autologging_is_disabled

from fpbus.pipelines.adapters import make_adapters
from fpbus.pipelines.modules import import_pipeline
from fpbus.pipelines.scope import RunFacts, RunScope, ignore
from fpbus.schemas import RunConfig
from fpbus.schemas.adapters import AdapterConfig, MlflowConfig
from support.servers import free_port

# MLflow's store uses what SQLAlchemy 2.1 calls old.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")

STEPS = """
import datetime
import mlflow
import pandas as pd
from hamilton.function_modifiers import save_to, value
from mlflow.utils.autologging_utils import autologging_is_disabled

def doubled(number: int) -> int:
    return number * 2

def inverse(doubled: int) -> float:
    mlflow.log_metric("by_hand", doubled)
    return 1 / doubled

def sentence(number: int) -> str:
    return f"it is {number}"

def parts(number: int) -> dict:
    return {"number": number, "on": datetime.date(2026, 1, 2)}

def table(number: int) -> pd.DataFrame:
    return pd.DataFrame({"number": [number] * 3})

@save_to.json(path=value("saved.json"), output_name_="saved")
def kept(number: int) -> dict:
    return {"kept": number}

def length(text: str) -> int:
    return len(text)

def quiet() -> bool:
    return autologging_is_disabled("mlflow")
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowClient]:
    yield MlflowClient(f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/runs.db")
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # None: its default


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = list(sys.path)
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines/steps.py").write_text(STEPS)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    yield tmp_path
    sys.path[:] = path
    for name in [name for name in sys.modules if name.partition(".")[0] == "pipelines"]:
        del sys.modules[name]


def settings(store: MlflowClient, project: Path, **more: Any) -> MlflowConfig:
    usual: dict[str, Any] = {"experiment_name": project.name, "artifact_location": str(project / "artifacts")}
    return MlflowConfig(tracking_uri=store.tracking_uri, **{**usual, **more})


def a_driver(project: Path, scope: RunScope, config: MlflowConfig, **more: Any) -> Any:
    module = import_pipeline(project, "steps")
    run = RunConfig(with_adapter={"mlflow": True})
    adapters = make_adapters(run, AdapterConfig(mlflow=config), scope, "shop")
    return driver.Builder().with_modules(module).with_config(more).with_adapters(*adapters).build()


def begin(scope: RunScope, run_id: str, attempt: int = 1) -> None:
    facts = RunFacts(run_id=run_id, pipeline="steps", attempt=attempt, inputs={}, config={}, final_vars=[])
    scope.begin(facts, ignore)


def runs(store: MlflowClient, name: str) -> list[Any]:
    experiment = store.get_experiment_by_name(name)
    assert experiment is not None
    return list(store.search_runs([experiment.experiment_id], order_by=["attributes.start_time"]))


def test_a_run_is_logged_with_its_inputs_and_outputs(store: MlflowClient, project: Path) -> None:
    scope = RunScope()
    config = settings(
        store,
        project,
        experiment_tags={"team": "sales", "floor": 3},
        experiment_description="of the shop",
        run_name="{pipeline_name} {run_id} at {timestamp:%Y-%m-%d}",
        run_description="by night",
        run_tags={"version": "1.2.0"},
        tags={"version": "0", "colour": "red"},
    )
    dag = a_driver(project, scope, config, mode="fast")

    begin(scope, "r1", attempt=2)
    dag.execute(["inverse", "sentence", "parts", "table"], inputs={"number": 2})

    (run,) = runs(store, project.name)
    assert run.info.status == "FINISHED"
    assert re.fullmatch(r"steps r1 at \d{4}-\d\d-\d\d", run.info.run_name)
    assert run.data.params == {"number": "2", "mode": "fast"}
    assert run.data.metrics == {"inverse": 0.25, "by_hand": 4.0}
    tags = run.data.tags
    assert {name: tags[name] for name in ("fpbus.run_id", "fpbus.pipeline", "fpbus.attempt", "version", "colour")} == {
        "fpbus.run_id": "r1",
        "fpbus.pipeline": "steps",
        "fpbus.attempt": "2",
        "version": "1.2.0",
        "colour": "red",
    }
    assert tags["mlflow.note.content"] == "by night"
    assert tags["output.table"] == "DataFrame 3 x 1"
    experiment = store.get_experiment_by_name(project.name)
    assert experiment is not None
    assert experiment.tags == {"team": "sales", "floor": "3", "mlflow.note.content": "of the shop"}


def test_texts_and_structures_are_artifacts_and_nothing_is_left_in_the_working_directory(
    store: MlflowClient, project: Path
) -> None:
    scope = RunScope()
    dag = a_driver(project, scope, settings(store, project))

    begin(scope, "r1")
    dag.execute(["sentence", "parts"], inputs={"number": 2})

    (run,) = runs(store, project.name)
    folder = Path(store.download_artifacts(run.info.run_id, "", str(project)))
    files = {file.name for file in folder.iterdir() if file.is_file()}
    assert files >= {"sentence.txt", "parts.json", "config.json", "hamilton_graph.json"}
    assert (folder / "sentence.txt").read_text() == "it is 2"
    assert json.loads((folder / "parts.json").read_text()) == {"number": 2, "on": "2026-01-02"}
    assert set(json.loads((folder / "hamilton_graph.json").read_text())) >= {"doubled", "inverse"}
    assert list(Path.cwd().iterdir()) == []


def test_what_a_data_saver_has_written_is_an_artifact(store: MlflowClient, project: Path) -> None:
    scope = RunScope()
    dag = a_driver(project, scope, settings(store, project))

    begin(scope, "r1")
    dag.execute(["saved"], inputs={"number": 2})

    (run,) = runs(store, project.name)
    folder = Path(store.download_artifacts(run.info.run_id, "saved", str(project)))
    assert json.loads((folder / "saved.json").read_text()) == {"kept": 2}


def test_a_long_input_is_cut(store: MlflowClient, project: Path) -> None:
    scope = RunScope()
    dag = a_driver(project, scope, settings(store, project))

    begin(scope, "r1")
    dag.execute(["length"], inputs={"text": "x" * 20_000})

    (run,) = runs(store, project.name)
    assert run.data.metrics == {"length": 20_000.0}
    assert 100 < len(run.data.params["text"]) < 20_000


def test_each_run_of_a_kept_driver_is_a_run_of_mlflow(store: MlflowClient, project: Path) -> None:
    scope = RunScope()
    dag = a_driver(project, scope, settings(store, project, run_name="{run_id}"))

    for number in (1, 2):
        begin(scope, f"r{number}")
        dag.execute(["doubled"], inputs={"number": number})

    assert [(run.info.run_name, run.data.metrics) for run in runs(store, project.name)] == [
        ("r1", {"doubled": 2.0}),
        ("r2", {"doubled": 4.0}),
    ]


def test_a_failing_run_is_failed_there_too_and_the_next_one_is_not(store: MlflowClient, project: Path) -> None:
    scope = RunScope()
    dag = a_driver(project, scope, settings(store, project))

    begin(scope, "r1")
    with pytest.raises(ZeroDivisionError):
        dag.execute(["inverse"], inputs={"number": 0})
    begin(scope, "r1", attempt=2)
    dag.execute(["inverse"], inputs={"number": 1})

    failed, finished = runs(store, project.name)
    assert failed.info.status == "FAILED"
    assert failed.data.tags["fpbus.error"] == "ZeroDivisionError: division by zero"
    assert finished.info.status == "FINISHED"
    assert finished.data.tags["fpbus.attempt"] == "2"


def test_experiments_and_runs_are_named_after_the_pipeline_by_default(store: MlflowClient, project: Path) -> None:
    scope = RunScope()
    dag = a_driver(project, scope, settings(store, project, experiment_name=None))

    begin(scope, "r1")
    dag.execute(["doubled"], inputs={"number": 1})

    assert [run.info.run_name for run in runs(store, "steps")] == ["steps"]


def test_a_run_of_mlflow_that_is_named_by_its_id_is_continued(store: MlflowClient, project: Path) -> None:
    scope = RunScope()
    earlier = store.create_run(store.create_experiment(project.name)).info.run_id
    store.log_param(earlier, "number", "as it was")
    dag = a_driver(project, scope, settings(store, project, run_id=earlier))

    for number in (1, 2):
        begin(scope, f"r{number}")
        dag.execute(["doubled"], inputs={"number": number})

    (run,) = runs(store, project.name)
    assert run.info.run_id == earlier
    assert run.data.metrics == {"doubled": 4.0}
    assert run.data.params == {"number": "as it was"}


@pytest.mark.parametrize("autolog", [True, False])
def test_autolog_is_on_while_a_run_wants_it(store: MlflowClient, project: Path, *, autolog: bool) -> None:
    scope = RunScope()
    dag = a_driver(project, scope, settings(store, project, autolog=autolog))

    begin(scope, "r1")

    assert dag.execute(["quiet"]) == {"quiet": not autolog}
    assert autologging_is_disabled("mlflow"), "it is off when the run is over"  # type: ignore[no-untyped-call]


def test_a_store_that_fails_in_the_middle_costs_the_record_only(
    store: MlflowClient, project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scope = RunScope()
    dag = a_driver(project, scope, settings(store, project))

    begin(scope, "r1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MlflowClient, "log_param", _full)
        assert dag.execute(["doubled"], inputs={"number": 1}) == {"doubled": 2}
    begin(scope, "r2")
    dag.execute(["doubled"], inputs={"number": 2})

    assert [message for message in caplog.messages if message.startswith("adapter")] == [
        "adapter mlflow raised in pre_graph_execute and is off for this run: OSError: disk full"
    ]
    assert [run.info.status for run in runs(store, project.name)] == ["FAILED", "FINISHED"]


def _full(*_: object) -> None:
    raise OSError("disk full")


def test_a_server_that_is_away_costs_the_record_only(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    scope, port = RunScope(), free_port()
    dag = a_driver(project, scope, MlflowConfig(tracking_uri=f"http://someone:secret@127.0.0.1:{port}"))

    begin(scope, "r1")

    assert dag.execute(["doubled"], inputs={"number": 1}) == {"doubled": 2}
    (told,) = [message for message in caplog.messages if message.startswith("adapter")]
    assert f"MLflow at 127.0.0.1:{port} does not answer" in told
    assert "secret" not in told
