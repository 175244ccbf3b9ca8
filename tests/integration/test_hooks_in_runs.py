"""Hooks around nodes that Hamilton's own drivers run: here, in threads, in other processes, in an event loop."""

import asyncio
import logging
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hamilton import async_driver, base, driver
from hamilton.execution import executors

from fpbus.pipelines import Project, hooks
from fpbus.pipelines.hook_calls import HookFailedError, Hooks, run_end
from fpbus.pipelines.modules import import_pipeline
from fpbus.pipelines.scope import RunFacts, RunScope, ignore
from fpbus.project import load_pipeline
from fpbus.schemas import HookConfig

DOCS = Path(__file__).parents[2] / "docs/hooks.md"

FACTS = RunFacts(run_id="r1", pipeline="hello", attempt=2, inputs={"celsius": 25}, config={}, final_vars=[])

HOOKS = """
import os
from fpbus.pipelines.hooks import *

def note(text):
    with open(os.environ["NOTED"], "a") as file:
        file.write(text + "\\n")
"""

BRANCHES = """
from hamilton.htypes import Collect, Parallelizable

def number(most: int) -> Parallelizable[int]:
    yield from range(most)

def square(number: int) -> int:
    return number * number

def total(square: Collect[int]) -> int:
    return sum(square)
"""


@pytest.fixture(autouse=True)
def _own_modules() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name in [name for name in sys.modules if name.partition(".")[0] in {"hooks", "pipelines"}]:
        del sys.modules[name]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("NOTED", str(tmp_path / "noted"))
    (tmp_path / "noted").touch()
    return Project.new(tmp_path / "weather")


def with_hooks(project: Project, text: str, pipeline: str = "hello") -> Hooks:
    (project.folder / "hooks/notes.py").write_text(HOOKS + text)
    return Hooks.load(project.folder, "hooks", pipeline)


def noted() -> list[str]:
    return Path(os.environ["NOTED"]).read_text().splitlines()


def scope() -> RunScope:
    busy = RunScope()
    busy.begin(FACTS, ignore)
    return busy


def a_driver(project: Project, *adapters: Any, name: str = "hello") -> driver.Builder:
    module = import_pipeline(project.folder, name)
    return driver.Builder().with_modules(module).with_adapters(base.DictResult(), *adapters)


def with_branches(project: Project) -> None:
    (project.folder / "conf/pipelines/branches.yml").write_text("run: {}\n")
    (project.folder / "pipelines/branches.py").write_text(BRANCHES)


PARAMS = {"comfortable_from": 68.0, "comfortable_to": 77.0}


def test_node_hooks_hear_of_every_node_with_what_goes_in_and_comes_out(project: Project) -> None:
    found = with_hooks(
        project,
        """
@before_node
def before(node: NodeStart):
    note(f"{node.run_id} {node.pipeline} {node.attempt} {node.node} {node.arguments} {node.tags['module']}")
    node.arguments.clear()

@after_node
def after(node: NodeEnd):
    assert node.duration_s >= 0
    note(f"{node.node} {node.result} {node.error} {sorted(node.arguments)}")
""",
    )

    outputs = a_driver(project, found.node_adapter(scope())).build().execute(["fahrenheit"], inputs={"celsius": 25.0})

    assert outputs == {"fahrenheit": 77.0}
    assert noted() == [
        "r1 hello 2 fahrenheit {'celsius': 25.0} pipelines.hello",
        "fahrenheit 77.0 None ['celsius']",
    ]


def test_after_node_hears_of_the_error(project: Project) -> None:
    found = with_hooks(
        project, "@after_node\ndef after(node):\n    note(f'{node.node} {node.error!r} {node.result}')\n"
    )
    dag = a_driver(project, found.node_adapter(scope())).build()

    with pytest.raises(ZeroDivisionError):
        dag.execute(["comfort"], inputs=PARAMS, overrides={"fahrenheit": Impossible()})

    assert noted() == ["comfort ZeroDivisionError('too cold') None"]


class Impossible:
    def __lt__(self, other: object) -> bool:
        raise ZeroDivisionError("too cold")


def test_node_hooks_that_raise_change_nothing_and_are_logged_once_per_run(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    found = with_hooks(
        project,
        "@before_node\n@after_node\ndef bad(node):\n    raise SystemExit('no')\n"
        "@after_node\ndef good(node):\n    note(node.node)\n",
    )
    dag = a_driver(project, found.node_adapter(scope())).build()

    with caplog.at_level(logging.WARNING, "fpbus.pipelines.hooks"):
        outputs = dag.execute(["comfort"], inputs={"celsius": 25.0, **PARAMS})

    assert outputs == {"comfort": "comfortable"}
    assert noted() == ["fahrenheit", "comfort"]
    assert [record.getMessage().split()[:3] for record in caplog.records if "raised SystemExit" in record.message] == [
        ["before_node", "hook", "hooks.notes.bad"],
        ["after_node", "hook", "hooks.notes.bad"],
    ]


def test_node_hooks_are_called_for_each_branch_in_threads(project: Project) -> None:
    with_branches(project)
    found = with_hooks(project, "@after_node\ndef after(node):\n    note(f'{node.node} {node.result}')\n", "branches")
    builder = a_driver(project, found.node_adapter(scope()), name="branches")
    dag = builder.enable_dynamic_execution(allow_experimental_mode=True).with_remote_executor(
        executors.MultiThreadingExecutor(max_tasks=4)
    )

    assert dag.build().execute(["total"], inputs={"most": 20}) == {"total": 2470}

    assert sorted(line for line in noted() if line.startswith("square")) == sorted(
        f"square {number * number}" for number in range(20)
    )


def test_node_hooks_go_along_into_other_processes(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    with_branches(project)
    found = with_hooks(
        project,
        """
import functools
import threading

@before_node
@after_node
def after(node):
    note(f"{os.getpid()} {node.run_id} {node.attempt} {type(node).__name__} {node.node} {node.arguments}")

class Stays:
    def __init__(self):
        self.lock = threading.Lock()
    def __call__(self, node):
        note(f"{os.getpid()} stays {node.node}")

stays = after_node(Stays())
""",
        "branches",
    )
    builder = a_driver(project, found.node_adapter(scope()), name="branches")
    dag = builder.enable_dynamic_execution(allow_experimental_mode=True).with_remote_executor(
        executors.MultiProcessingExecutor(max_tasks=2)
    )

    with caplog.at_level(logging.WARNING, "fpbus.pipelines.hooks"):
        assert dag.build().execute(["total"], inputs={"most": 4}) == {"total": 14}

    here = str(os.getpid())
    squares = [line.split(maxsplit=1) for line in noted() if " square " in line]
    assert sorted(rest for _, rest in squares) == sorted(
        f"r1 2 {kind} square {{'number': {number}}}" for number in range(4) for kind in ("NodeStart", "NodeEnd")
    )
    assert here not in {pid for pid, _ in squares}
    assert {line.split()[0] for line in noted() if "stays" in line} == {here}
    left_out = [record for record in caplog.records if "cannot go to other processes" in record.getMessage()]
    assert len(left_out) == 1
    assert left_out[0].getMessage().startswith("after_node hook hooks.notes.stays")


def test_node_hooks_are_called_for_cached_nodes_too(project: Project, tmp_path: Path) -> None:
    found = with_hooks(project, "@after_node\ndef after(node):\n    note(f'{node.node} {node.result}')\n")
    dag = a_driver(project, found.node_adapter(scope())).with_cache(path=tmp_path / "cache").build()

    for _ in range(2):
        dag.execute(["fahrenheit"], inputs={"celsius": 25.0})

    assert noted() == ["fahrenheit 77.0", "fahrenheit 77.0"]


def test_the_async_driver_calls_them_as_well(project: Project) -> None:
    found = with_hooks(
        project,
        "@before_node\n@after_node\ndef seen(node):\n    note(f'{type(node).__name__} {node.node}')\n"
        "@after_node\ndef bad(node):\n    raise KeyError\n",
    )
    module = import_pipeline(project.folder, "hello")
    adapter = found.async_node_adapter(scope())
    assert adapter is not None

    async def run() -> dict[str, Any]:
        dag = async_driver.AsyncDriver({}, module, result_builder=base.DictResult(), adapters=[adapter])
        outputs: dict[str, Any] = await dag.execute(["fahrenheit"], inputs={"celsius": 25.0})
        return outputs

    assert asyncio.run(run()) == {"fahrenheit": 77.0}
    assert noted() == ["NodeStart fahrenheit", "NodeEnd fahrenheit"]


# The page


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Yield file and text of each block of the page that begins with the name of its file."""
    for found in re.finditer(rf"```{language}\n# (\S+)\n(.*?)```", DOCS.read_text(), re.DOTALL):
        yield found[1], found[2]


def test_the_pages_files_do_what_it_says(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    for path, text in [*blocks("python"), *blocks("yaml")]:
        (project.folder / path).parent.mkdir(parents=True, exist_ok=True)
        with (project.folder / path).open("a") as file:
            file.write(text)
    configured: list[HookConfig] = load_pipeline(project.folder, "hello").hooks

    found = Hooks.load(project.folder, "hooks", "hello", configured)

    with pytest.raises(HookFailedError, match=r"stopped the run: ValueError: -300\.0 is below absolute zero"):
        found.before_run(msgspec.structs.replace(FACTS, inputs={"celsius": -300.0}))
    found.before_run(FACTS)
    found.after_run(run_end(FACTS, 0.25, outputs={}))
    found.on_failure(run_end(FACTS, 0.25, error=ValueError("x"), failed_node="comfort"))
    a_driver(project, found.node_adapter(scope())).build().execute(["fahrenheit"], inputs={"celsius": 25.0})
    assert found.message("plant/oven/temperature", b'{"celsius": 21.5}') == (
        {"celsius": 21.5, "device": "oven"},
        {"scale": "fahrenheit"},
    )
    said = capsys.readouterr().out
    assert "hello: attempt 2 took 0.250 s" in said
    assert "fahrenheit = 77.0" in said
    assert "hello failed at comfort: x" in said
    assert "r1 of hello is lost" in said


def test_the_page_names_every_type_of_hook() -> None:
    page = DOCS.read_text()

    for name, value in vars(hooks).items():
        if isinstance(value, hooks.HookDecorator):
            assert f"| `{name}` |" in page
