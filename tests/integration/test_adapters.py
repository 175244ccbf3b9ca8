"""Adapters of a run: which are made, what is refused, and that none of those that only listen can harm a run."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hamilton import async_driver, driver
from hamilton.execution import executors
from hamilton.plugins.h_threadpool import FutureAdapter

from fpbus.pipelines.adapters import AdapterError, make_adapters
from fpbus.pipelines.adapters.names import check_name
from fpbus.pipelines.async_runs import run_coroutine
from fpbus.pipelines.modules import import_pipeline
from fpbus.pipelines.scope import RunFacts, RunScope, ignore
from fpbus.schemas import PipelineConfig, ProjectConfig, RunConfig
from fpbus.schemas.adapters import AdapterConfig, CustomAdapterConfig, RayConfig

DOCS = Path(__file__).parents[2] / "docs/adapters.md"

STEPS = """
def doubled(number: int) -> int:
    return number * 2

def inverse(doubled: int) -> float:
    return 1 / doubled
"""

BRANCHES = """
from hamilton.htypes import Collect, Parallelizable

def item(most: int) -> Parallelizable[int]:
    yield from range(most)

def square(item: int) -> int:
    return item * item

def total(square: Collect[int]) -> int:
    return sum(square)
"""

AUDIT = """
import os
from hamilton.lifecycle import EdgeConnectionHook, GraphExecutionHook, NodeExecutionHook, ResultBuilder
from hamilton.lifecycle.base import BasePostGraphConstruct, BasePostNodeExecute, BasePreNodeExecuteAsync

def note(text):
    with open(os.environ["NOTED"], "a") as file:
        file.write(text + "\\n")

class Audit(NodeExecutionHook, BasePostGraphConstruct):
    def __init__(self, prefix=""):
        self.prefix = prefix
        note("made")

    def post_graph_construct(self, *, graph, modules, config):
        note(f"built {sorted(config)}")

    def run_before_node_execution(self, *, node_name, **_):
        note(f"{self.prefix}{node_name}?")

    def run_after_node_execution(self, *, node_name, result, error, **_):
        note(f"{self.prefix}{node_name}={result} {error!r}")

class Raises(Audit):
    def run_before_node_execution(self, *, node_name, **_):
        note("asked")
        raise SystemExit("no record")

class Unmakeable(Audit):
    def __init__(self):
        raise OSError("no server")

class AtEnd(GraphExecutionHook):
    def run_before_graph_execution(self, **_):
        note("begin")

    def run_after_graph_execution(self, *, success, error, results, **_):
        note(f"end {success} {error!r} {results}")
        raise ValueError("at the end")

class Late(BasePreNodeExecuteAsync):
    async def pre_node_execute(self, **_):
        pass

class Nothing:
    pass

class Judge(EdgeConnectionHook):
    def __init__(self):
        raise OSError("no rules")

    def check_edge_types_match(self, type_from, type_to, **_):
        return True

    def validate_input(self, node_type, input_value, **_):
        return True
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("NOTED", str(tmp_path / "noted"))
    path, folder = list(sys.path), tmp_path / "project"
    files = {"pipelines/steps": STEPS, "pipelines/branches": BRANCHES, "hooks/__init__": "", "hooks/audit": AUDIT}
    for file, text in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{file}.py").write_text(text)
    (tmp_path / "noted").touch()
    _forget_projects()
    yield folder
    sys.path[:] = path
    _forget_projects()


def _forget_projects() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in {"hooks", "pipelines"}]:
        del sys.modules[name]


def noted() -> list[str]:
    return Path(os.environ["NOTED"]).read_text().splitlines()


def begin(scope: RunScope, run_id: str, attempt: int = 1) -> None:
    facts = RunFacts(run_id=run_id, pipeline="steps", attempt=attempt, inputs={}, config={}, final_vars=[])
    scope.begin(facts, ignore)


def a_builder(
    project: Path, scope: RunScope, names: dict[str, bool], settings: AdapterConfig | None = None, name: str = "steps"
) -> Any:
    module = import_pipeline(project, name)
    adapters = make_adapters(RunConfig(with_adapter=names), settings or AdapterConfig(), scope, "shop")
    return driver.Builder().with_modules(module).with_adapters(*adapters)


def test_an_adapter_of_the_projects_own_hears_of_every_run_of_a_kept_driver(project: Path) -> None:
    scope = RunScope()
    settings = AdapterConfig(custom={"audit": CustomAdapterConfig(type="hooks.audit.Audit", options={"prefix": ">"})})
    dag = a_builder(project, scope, {"audit": True}, settings).with_config({"mode": 1}).build()
    assert noted() == [], "an adapter is made when a run begins"

    for run_id in ("a", "b"):
        begin(scope, run_id)
        assert dag.execute(["inverse"], inputs={"number": 2}) == {"inverse": 0.25}

    each = [">doubled?", ">doubled=4 None", ">inverse?", ">inverse=0.25 None"]
    assert noted() == ["made", "built ['mode']", *each, *each]


def test_a_dotted_name_needs_no_settings(project: Path) -> None:
    scope = RunScope()
    dag = a_builder(project, scope, {"hooks.audit.Audit": True, "mlflow": False}).build()

    begin(scope, "a")
    dag.execute(["doubled"], inputs={"number": 2})

    assert noted()[-1] == "doubled=4 None"


def test_an_adapter_that_raises_is_told_once_and_off_for_that_run_only(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scope = RunScope()
    dag = a_builder(project, scope, {"hooks.audit.Raises": True}).build()

    for run_id, attempt in (("a", 1), ("a", 2), ("b", 1)):
        begin(scope, run_id, attempt)
        assert dag.execute(["inverse"], inputs={"number": 2}) == {"inverse": 0.25}

    assert noted().count("asked") == 2
    told = [record for record in caplog.records if record.name == "fpbus.pipelines.adapters"]
    assert [(record.levelname, vars(record)["run_id"]) for record in told] == [("WARNING", "a"), ("WARNING", "b")]
    assert told[0].getMessage() == (
        "adapter hooks.audit.Raises raised in pre_node_execute and is off for this run: SystemExit: no record"
    )


def test_an_adapter_that_cannot_be_made_costs_no_run(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    scope = RunScope()
    dag = a_builder(project, scope, {"hooks.audit.Unmakeable": True}).build()

    begin(scope, "a")

    assert dag.execute(["inverse"], inputs={"number": 2}) == {"inverse": 0.25}
    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records] == ["no server"]


def test_the_pipelines_own_exception_passes_untouched(project: Path) -> None:
    scope = RunScope()
    dag = a_builder(project, scope, {"hooks.audit.AtEnd": True, "hooks.audit.Audit": True}).build()

    begin(scope, "a")
    with pytest.raises(ZeroDivisionError) as caught:
        dag.execute(["inverse"], inputs={"number": 0})

    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert "inverse=None ZeroDivisionError('division by zero')" in noted()
    assert noted()[-1] == "end False ZeroDivisionError('division by zero') None"


def test_adapters_hear_of_nodes_in_threads(project: Path) -> None:
    scope = RunScope()
    builder = a_builder(project, scope, {"hooks.audit.Audit": True}, name="branches")
    builder.enable_dynamic_execution(allow_experimental_mode=True)
    dag = builder.with_remote_executor(executors.MultiThreadingExecutor(max_tasks=4)).build()

    begin(scope, "a")

    assert dag.execute(["total"], inputs={"most": 20}) == {"total": 2470}
    squares = [f"square={number * number} None" for number in range(20)]
    assert sorted(line for line in noted() if line.startswith("square=")) == sorted(squares)


def test_adapters_stay_behind_when_nodes_go_to_other_processes(project: Path) -> None:
    scope = RunScope()
    builder = a_builder(project, scope, {"hooks.audit.Audit": True}, name="branches")
    builder.enable_dynamic_execution(allow_experimental_mode=True)
    dag = builder.with_remote_executor(executors.MultiProcessingExecutor(max_tasks=1)).build()

    begin(scope, "a")

    assert dag.execute(["total"], inputs={"most": 3}) == {"total": 5}
    assert noted()[-1] == "total=5 None"
    assert not [line for line in noted() if line.startswith("square")]


def test_adapters_hear_of_async_nodes_when_these_run(project: Path) -> None:
    text = "import asyncio\n\nasync def later(number: int) -> int:\n    await asyncio.sleep(0)\n    return number + 1\n"
    (project / "pipelines/waiting.py").write_text(text)
    scope = RunScope()
    run = RunConfig(with_adapter={"hooks.audit.Audit": True, "hooks.audit.AtEnd": True})
    module = import_pipeline(project, "waiting")
    adapters = make_adapters(run, AdapterConfig(), scope, "shop", awaited=True)
    builder: Any = async_driver.Builder()
    dag = builder.with_modules(module).with_adapters(*adapters).build_without_init()

    begin(scope, "a")
    run_coroutine(dag.execute(["later"], inputs={"number": 1}))

    assert noted() == ["made", "built []", "begin", "later?", "later=2 None", "end True None {'later': 2}"]


@pytest.mark.parametrize(
    ("names", "custom", "sentence", "hint"),
    [
        ({"mlfow": True}, None, "names 'mlfow'", "'mlflow'"),
        ({"zzz": False}, None, "names 'zzz'", "hamilton_tracker, mlflow"),
        ({"hooks.audit.Missing": True}, None, "has no 'Missing'", ""),
        ({"hooks.nowhere.Audit": True}, None, "hooks.nowhere cannot be imported: ModuleNotFoundError", ""),
        ({"hooks.audit.Nothing": True}, None, "which is no lifecycle adapter", "hamilton.lifecycle"),
        ({"hooks.audit.note": True}, None, "which is no lifecycle adapter", "hamilton.lifecycle"),
        ({"hooks.audit.Late": True}, None, "whose hooks are coroutines", "plain functions"),
        ({"hooks.audit.Judge": True}, None, "'hooks.audit.Judge' cannot be made: OSError: no rules", ""),
        ({"mine": True}, "Audit", "which names no module", "module.Class"),
    ],
)
def test_what_is_no_adapter_is_refused_when_the_driver_is_built(
    project: Path, names: dict[str, bool], custom: str | None, sentence: str, hint: str
) -> None:
    settings = AdapterConfig(custom={"mine": CustomAdapterConfig(type=custom)} if custom else {})

    with pytest.raises(AdapterError) as caught:
        a_builder(project, RunScope(), names, settings)

    assert sentence in str(caught.value)
    assert hint in (caught.value.hint or "")


def test_a_custom_adapter_is_not_imported_where_it_is_off(project: Path) -> None:
    assert make_adapters(RunConfig(with_adapter={"no.such.Thing": False}), AdapterConfig(), RunScope(), "shop") == []


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("mlflow", "mlflow", "mlflow"),
        ("hamilton_tracker", "hamilton_sdk", "ui"),
        ("opentelemetry", "opentelemetry.exporter", "otlp"),
    ],
)
def test_an_adapter_without_its_package_is_told_and_left_out(
    name: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    without(package, monkeypatch)

    assert make_adapters(RunConfig(with_adapter={name: True}), AdapterConfig(), RunScope(), "shop") == []

    assert caplog.messages == [f"adapter {name} is on but not installed: pip install 'fpbus[{extra}]'"]


def test_ray_without_its_package_is_an_error_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    without("ray", monkeypatch)

    with pytest.raises(AdapterError, match=r"pip install 'fpbus\[ray\]'"):
        make_adapters(RunConfig(with_adapter={"ray": True}), AdapterConfig(), RunScope(), "shop")


def test_an_adapter_whose_package_is_broken_is_told_and_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "hamilton_sdk.adapters", None)
    monkeypatch.delitem(sys.modules, "fpbus.pipelines.adapters.tracker", raising=False)

    run = RunConfig(with_adapter={"hamilton_tracker": True})
    assert make_adapters(run, AdapterConfig(), RunScope(), "shop") == []

    (told,) = caplog.messages
    assert told.startswith("adapter hamilton_tracker is on but cannot be imported: ")


def without(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide a package from the import system, as if it were not installed."""

    class Hidden:
        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            if name == package or name.startswith(f"{package}."):
                raise ModuleNotFoundError(name)

    for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Hidden, *sys.meta_path])


def test_future_computes_nodes_in_threads_and_listening_adapters_hear_of_them(project: Path) -> None:
    scope = RunScope()
    dag = a_builder(project, scope, {"future": True, "hooks.audit.Audit": True, "hooks.audit.AtEnd": True}).build()

    for run_id in ("a", "b"):
        begin(scope, run_id)
        assert dag.execute(["doubled", "inverse"], inputs={"number": 2}) == {"doubled": 4, "inverse": 0.25}

    assert noted().count("inverse=0.25 None") == 2
    assert noted()[-1] == "end True None {'doubled': 4, 'inverse': 0.25}"


def test_threads_of_future_know_the_context_of_the_run(project: Path) -> None:
    text = "from contextvars import ContextVar\n\n_level = ContextVar('level', default='none')\n\n"
    (project / "pipelines/contextual.py").write_text(text + "def seen() -> str:\n    return _level.get()\n")
    scope = RunScope()
    dag = a_builder(project, scope, {"future": True}, name="contextual").build()
    level = sys.modules["pipelines.contextual"]._level

    begin(scope, "a")
    level.set("debug")

    assert dag.execute(["seen"]) == {"seen": "debug"}


def test_a_failure_in_a_thread_of_future_is_the_runs(project: Path) -> None:
    scope = RunScope()
    dag = a_builder(project, scope, {"future": True}).build()

    begin(scope, "a")
    with pytest.raises(ZeroDivisionError):
        dag.execute(["inverse"], inputs={"number": 0})


@pytest.mark.parametrize(
    ("run", "awaited", "parts"),
    [
        ({"with_adapter": {"future": True}}, True, "Futures and the async driver"),
        ({"with_adapter": {"future": True}, "executor": {"type": "threadpool"}}, False, "the executor threadpool"),
        ({"with_adapter": {"future": True, f"{__name__}.Second": True}}, False, "Futures and the adapter Second"),
    ],
)
def test_two_things_that_execute_nodes_are_refused(run: dict[str, Any], parts: str, *, awaited: bool) -> None:
    sys.modules.setdefault(__name__, sys.modules[Second.__module__])

    with pytest.raises(AdapterError, match=parts):
        make_adapters(msgspec.convert(run, RunConfig), AdapterConfig(), RunScope(), "shop", awaited=awaited)


class Second(FutureAdapter):  # type: ignore[misc]  # Hamilton's classes are Any to us
    pass


@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_computes_nodes_and_is_started_again_after_it_was_shut_down(project: Path) -> None:
    ray = pytest.importorskip("ray")
    scope = RunScope()
    start = {"num_cpus": 1, "include_dashboard": False, "configure_logging": False, "log_to_driver": False}
    settings = AdapterConfig(ray=RayConfig(ray_init_config=start, shutdown_ray_on_completion=True))
    dag = a_builder(project, scope, {"ray": True, "hooks.audit.AtEnd": True}, settings).build()

    for run_id in ("a", "b"):
        begin(scope, run_id)
        assert dag.execute(["doubled", "inverse"], inputs={"number": 2}) == {"doubled": 4, "inverse": 0.25}
        assert not ray.is_initialized()

    assert noted()[-1] == "end True None {'doubled': 4, 'inverse': 0.25}"


BAR = """
import sys
from pathlib import Path
from hamilton import driver
from fpbus.pipelines.adapters import make_adapters
from fpbus.pipelines.modules import import_pipeline
from fpbus.pipelines.scope import RunScope
from fpbus.schemas import RunConfig
from fpbus.schemas.adapters import AdapterConfig

module = import_pipeline(Path(sys.argv[1]), "talking")
adapters = make_adapters(RunConfig(with_adapter={"progressbar": True}), AdapterConfig(), RunScope(), "shop")
dag = driver.Builder().with_modules(module).with_adapters(*adapters).build()
for _ in range(2):
    dag.execute(["said"], inputs={"word": "hello"})
"""


def show_bar(project: Path, stderr: int) -> str:
    (project / "pipelines/talking.py").write_text(
        "def heard(word: str) -> str:\n    return word\n\n"
        "def said(heard: str) -> str:\n    print(heard)\n    return heard\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm", "COLUMNS": "80"}
    command = [sys.executable, "-c", BAR, str(project)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, env=environment, check=True, timeout=60)
    return done.stdout.decode()


def test_the_bar_is_drawn_on_a_terminal_and_what_nodes_print_stays_in_the_pipe(project: Path) -> None:
    ours, theirs = pty.openpty()

    printed = show_bar(project, theirs)

    drawn = os.read(ours, 65536).decode()
    os.close(theirs)
    os.close(ours)
    assert printed == "hello\nhello\n"
    # The input and two nodes are what Hamilton counts; each run has a bar of its own.
    assert drawn.count("Running:") >= 2
    assert "hello" not in drawn


def test_there_is_no_bar_where_stderr_is_no_terminal(project: Path, tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("wb") as file:
        printed = show_bar(project, file.fileno())

    assert printed == "hello\nhello\n"
    assert (tmp_path / "stderr").read_text() == ""


@pytest.mark.parametrize(
    "name", ["{pipeline}", "{run_id.__class__}", "{run_id:>9}", "{0}", "{}", "open{", "{timestamp"]
)
def test_names_reach_nothing_but_the_three_placeholders(name: str) -> None:
    with pytest.raises(AdapterError, match="is no placeholder"):
        check_name("adapter.mlflow.run_name", name)


def test_every_yaml_block_of_the_docs_can_be_loaded() -> None:
    blocks = [part.partition("```")[0] for part in DOCS.read_text().split("```yaml\n")[1:]]

    assert len(blocks) >= 6
    for block in blocks:
        first, _, text = block.partition("\n")
        kind = ProjectConfig if "conf/project.yml" in first else PipelineConfig
        msgspec.convert(yaml.safe_load(text), kind)
