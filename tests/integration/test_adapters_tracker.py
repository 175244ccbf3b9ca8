"""Runs in Hamilton's UI: what Hamilton's own SDK sends, and what the real server makes of it where it is installed.

`FPBUS_TEST_HAMILTON_UI` names a Python that has `apache-hamilton-ui`; it wants other versions than we do.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from hamilton import driver

from fpbus.pipelines.adapters import make_adapters
from fpbus.pipelines.modules import import_pipeline
from fpbus.pipelines.scope import RunFacts, RunScope, ignore
from fpbus.schemas import RunConfig
from fpbus.schemas.adapters import AdapterConfig, HamiltonTrackerConfig
from support.servers import Server, free_port
from support.waiting import wait_for

STEPS = """
def doubled(number: int) -> list[int]:
    return [number] * 2 * number

def inverse(doubled: list[int]) -> float:
    return 1 / len(doubled)
"""

ANSWERS = {
    "GET /api/v1/phone_home": {"success": True, "message": "hello"},
    "GET /api/v1/projects/1": {"id": 1},
    "GET /api/v1/dag_templates/exists/": None,
    "POST /api/v1/dag_templates": {"id": 7},
    "POST /api/v1/dag_runs": {"id": 9},
    "PUT /api/v1/dag_runs_bulk": None,
    "PUT /api/v1/dag_runs/9/": {"id": 9},
}


class Stand(ThreadingHTTPServer):
    """Answers as Hamilton's server does, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Answer)
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.refused = ""
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def bodies(self, what: str) -> list[Any]:
        return [body for asked, _, body in list(self.asked) if asked == what]

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class Answer(BaseHTTPRequestHandler):
    def answer(self) -> None:
        assert isinstance(self.server, Stand)
        what = f"{self.command} {self.path.partition('?')[0]}"
        text = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.asked.append((what, {k.lower(): v for k, v in self.headers.items()}, json.loads(text or "null")))
        answer = json.dumps(ANSWERS.get(what)).encode()
        self.send_response(200 if what in ANSWERS and what != self.server.refused else 404)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PUT = answer  # noqa: N815 (http.server's names)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (http.server's name)
        pass


@pytest.fixture
def stand() -> Iterator[Stand]:
    stand = Stand()
    yield stand
    stand.close()


@pytest.fixture(autouse=True)
def project(tmp_path: Path) -> Iterator[Path]:
    path = list(sys.path)
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines/steps.py").write_text(STEPS)
    yield tmp_path
    sys.path[:] = path
    for name in [name for name in sys.modules if name.partition(".")[0] == "pipelines"]:
        del sys.modules[name]


def a_driver(project: Path, scope: RunScope, url: str, **more: Any) -> Any:
    usual: dict[str, Any] = {"api_url": url, "ui_url": url, "username": "ann", "project_id": 1}
    config = HamiltonTrackerConfig(**{**usual, **more})
    module = import_pipeline(project, "steps")
    run = RunConfig(with_adapter={"hamilton_tracker": True})
    adapters = make_adapters(run, AdapterConfig(hamilton_tracker=config), scope, "shop")
    return driver.Builder().with_modules(module).with_adapters(*adapters).build()


def begin(scope: RunScope, run_id: str, attempt: int = 1) -> None:
    facts = RunFacts(run_id=run_id, pipeline="steps", attempt=attempt, inputs={}, config={}, final_vars=[])
    scope.begin(facts, ignore)


def nodes(stand: Stand) -> dict[str, str]:
    """Return the last status of each node that was sent."""
    updates = [update for body in stand.bodies("PUT /api/v1/dag_runs_bulk") for update in body["task_updates"]]
    return {update["node_name"]: update["status"] for update in updates}


def values(stand: Stand) -> dict[str, Any]:
    """Return what was sent of the results of nodes."""
    sent = [attribute for body in stand.bodies("PUT /api/v1/dag_runs_bulk") for attribute in body["attributes"]]
    return {attribute["node_name"]: attribute["value"] for attribute in sent}


def test_a_run_is_sent_with_its_dag_its_tags_and_its_nodes(project: Path, stand: Stand) -> None:
    scope = RunScope()
    more = {"api_key": "key", "tags": {"team": "sales", "floor": 3}, "max_list_length_capture": 2}
    dag = a_driver(project, scope, stand.url, **more)
    assert stand.asked == [], "nothing is sent before a run begins"

    begin(scope, "r1", attempt=2)
    dag.execute(["inverse"], inputs={"number": 2})

    for _, headers, _ in stand.asked:
        assert (headers["x-api-user"], headers["x-api-key"]) == ("ann", "key")
    (template,) = stand.bodies("POST /api/v1/dag_templates")
    assert template["name"] == "steps"
    assert {node["name"] for node in template["nodes"]} == {"number", "doubled", "inverse"}
    (started,) = stand.bodies("POST /api/v1/dag_runs")
    assert started["tags"] == {"team": "sales", "floor": "3", "fpbus.run_id": "r1", "fpbus.attempt": "2"}
    assert started["outputs"] == ["inverse"]
    (ended,) = stand.bodies("PUT /api/v1/dag_runs/9/")
    assert ended["run_status"] == "SUCCESS"
    wait_for(lambda: nodes(stand) == {"doubled": "SUCCESS", "inverse": "SUCCESS"}, what="the nodes")
    assert values(stand)["doubled"]["value"] == [2, 2, "... truncated ..."]


def test_a_kept_driver_registers_its_dag_once_and_each_of_its_runs(project: Path, stand: Stand) -> None:
    scope = RunScope()
    dag = a_driver(project, scope, stand.url, dag_name="Nightly")

    for run_id in ("r1", "r2"):
        begin(scope, run_id)
        dag.execute(["inverse"], inputs={"number": 2})

    assert [template["name"] for template in stand.bodies("POST /api/v1/dag_templates")] == ["Nightly"]
    assert [run["tags"]["fpbus.run_id"] for run in stand.bodies("POST /api/v1/dag_runs")] == ["r1", "r2"]
    assert len(stand.bodies("PUT /api/v1/dag_runs/9/")) == 2


def test_a_failing_run_is_a_failure_there(project: Path, stand: Stand) -> None:
    scope = RunScope()
    dag = a_driver(project, scope, stand.url)

    begin(scope, "r1")
    with pytest.raises(ZeroDivisionError):
        dag.execute(["inverse"], inputs={"number": 0})

    assert [body["run_status"] for body in stand.bodies("PUT /api/v1/dag_runs/9/")] == ["FAILURE"]
    wait_for(lambda: nodes(stand) == {"doubled": "SUCCESS", "inverse": "FAILURE"}, what="the nodes")
    assert "ZeroDivisionError" in "".join(values(stand)["inverse"]["stack_trace"])


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"project_id": None}, "adapter.hamilton_tracker.project_id is not set"),
        ({"username": None}, "adapter.hamilton_tracker.username is not set"),
        ({"project_id": 5}, "Resource project with id 5 does not exist"),
    ],
)
def test_a_project_that_is_not_there_costs_the_record_only(
    project: Path, stand: Stand, caplog: pytest.LogCaptureFixture, more: dict[str, Any], sentence: str
) -> None:
    scope = RunScope()
    dag = a_driver(project, scope, stand.url, **more)

    begin(scope, "r1")

    assert dag.execute(["inverse"], inputs={"number": 2}) == {"inverse": 0.25}
    (told,) = caplog.messages
    assert told.startswith("adapter hamilton_tracker raised in pre_graph_execute and is off for this run: ")
    assert sentence in told


def test_a_server_that_goes_away_costs_records_until_it_is_back(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scope, port = RunScope(), free_port()
    dag = a_driver(project, scope, f"http://127.0.0.1:{port}")

    for run_id in ("r1", "r2"):
        begin(scope, run_id)
        assert dag.execute(["inverse"], inputs={"number": 2}) == {"inverse": 0.25}
    back = Stand(port)
    begin(scope, "r3")
    dag.execute(["inverse"], inputs={"number": 2})

    assert [vars(record)["run_id"] for record in caplog.records] == ["r1", "r2"]
    assert f"Hamilton's UI at 127.0.0.1:{port} does not answer" in caplog.messages[0]
    assert [run["tags"]["fpbus.run_id"] for run in back.bodies("POST /api/v1/dag_runs")] == ["r3"]
    wait_for(lambda: nodes(back) == {"doubled": "SUCCESS", "inverse": "SUCCESS"}, what="the nodes")
    back.close()


def test_nodes_that_are_not_taken_are_told_and_later_ones_are_sent(
    project: Path, stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    scope = RunScope()
    dag = a_driver(project, scope, stand.url)
    stand.refused = "PUT /api/v1/dag_runs_bulk"

    begin(scope, "r1")
    dag.execute(["inverse"], inputs={"number": 2})
    wait_for(lambda: stand.bodies(stand.refused), what="the refused nodes")
    wait_for(lambda: _told(dag, scope, caplog), what="the warning")
    refused, stand.refused = len(stand.asked), ""
    begin(scope, "last")
    dag.execute(["inverse"], inputs={"number": 2})

    wait_for(
        lambda: [what for what, _, _ in stand.asked[refused:] if what == "PUT /api/v1/dag_runs_bulk"],
        what="the nodes of a later run",
    )


def _told(dag: Any, scope: RunScope, caplog: pytest.LogCaptureFixture) -> bool:
    """Make one more run, and tell whether the loss has been told."""
    begin(scope, f"more {len(caplog.messages)}")
    dag.execute(["doubled"], inputs={"number": 2})
    return any("Hamilton's UI did not take what nodes did" in message for message in caplog.messages)


@pytest.fixture(scope="module")
def hamilton_ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    python = os.environ.get("FPBUS_TEST_HAMILTON_UI")
    if not python:
        pytest.skip("FPBUS_TEST_HAMILTON_UI names no Python with apache-hamilton-ui")
    folder, port = tmp_path_factory.mktemp("hamilton_ui"), free_port()
    for part in ("blobs", "db"):
        (folder / part).mkdir()
    find = [python, "-c", "import hamilton_ui; print(hamilton_ui.__path__[0])"]
    manage = Path(subprocess.check_output(find, text=True).strip()) / "manage.py"
    settings = "--settings=server.settings_mini"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HAMILTON_BASE_DIR", str(folder))
        patch.setenv("DD_TRACE_ENABLED", "false")
        subprocess.run([python, str(manage), "migrate", settings], check=True, capture_output=True)
        command = [python, str(manage), "runserver", "--noreload", "--insecure", settings, f"127.0.0.1:{port}"]
        server = Server(command, port, folder).start()
    yield f"http://127.0.0.1:{port}"
    server.stop()


def test_the_real_server_shows_a_run(project: Path, hamilton_ui: str) -> None:
    headers = {"x-api-user": "ann"}
    visible: dict[str, Any] = {f"{who}_ids_{how}": [] for who in ("user", "team") for how in ("visible", "writable")}
    visible["user_ids_writable"] = ["ann"]
    body: dict[str, Any] = {"name": "shop", "description": "", "tags": {}, "attributes": [], "visibility": visible}
    made = requests.post(f"{hamilton_ui}/api/v1/projects", json=body, headers=headers, timeout=10).json()
    scope = RunScope()
    dag = a_driver(project, scope, hamilton_ui, project_id=made["id"])

    begin(scope, "r1")
    dag.execute(["inverse"], inputs={"number": 2})
    begin(scope, "r2")
    with pytest.raises(ZeroDivisionError):
        dag.execute(["inverse"], inputs={"number": 0})

    def shown() -> dict[str, tuple[str, dict[str, str]]]:
        latest = f"{hamilton_ui}/api/v1/dag_runs/latest/?project_id={made['id']}"
        numbers = [run["id"] for run in requests.get(latest, headers=headers, timeout=10).json()]
        asked = f"{hamilton_ui}/api/v1/dag_runs/{','.join(map(str, numbers))}"
        found = requests.get(asked, headers=headers, timeout=10).json()
        return {
            run["tags"]["fpbus.run_id"]: (
                run["run_status"],
                {node["node_name"]: node["status"] for node in run["node_runs"]},
            )
            for run in found
        }

    expected = {
        "r1": ("SUCCESS", {"doubled": "SUCCESS", "inverse": "SUCCESS"}),
        "r2": ("FAILURE", {"doubled": "SUCCESS", "inverse": "FAILURE"}),
    }
    wait_for(lambda: shown() == expected, what="both runs with their nodes")
