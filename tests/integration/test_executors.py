"""Executors, async functions and additional modules: real pools, a real Ray, a real Dask."""

import asyncio
import importlib
import multiprocessing
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fpbus.pipelines import NodeReport, PipelineFailedError, PipelineNotLoadableError, Project
from support.daemons import run_plain
from support.waiting import wait_for

_PLAIN = """
import os

def doubled(number: int) -> int:
    return number * 2

def where(doubled: int) -> int:
    return os.getpid()

def total(doubled: int, number: int) -> int:
    return doubled + number
"""

_PARALLEL = """
import os
import threading
from hamilton.htypes import Collect, Parallelizable

class BoomError(Exception):
    def __init__(self, item: int, why: str) -> None:
        super().__init__(f"{why} at {item}")

def item(count: int) -> Parallelizable[int]:
    yield from range(count)

def squared(item: int, bad: int = -1) -> int:
    if item == bad:
        raise BoomError(item, "boom")
    return item * item

def visit(squared: int) -> list[int]:
    return [squared, os.getpid(), threading.get_ident()]

def visits(visit: Collect[list[int]]) -> list[list[int]]:
    return list(visit)

def total(visits: list[list[int]]) -> int:
    return sum(visit[0] for visit in visits)
"""

_EXECUTORS: dict[str, dict[str, Any]] = {
    "local": {"type": "local"},
    "synchronous": {"type": "synchronous"},
    "threadpool": {"type": "threadpool", "max_workers": 2},
    "processpool": {"type": "processpool", "max_workers": 1},
    "ray": {"type": "ray", "num_cpus": 1},
    "dask": {"type": "dask", "max_workers": 1},
}
_ELSEWHERE = ("processpool", "ray", "dask")


def _project(folder: Path, modules: dict[str, str], run: str = "{}") -> Project:
    (folder / "pipelines").mkdir(parents=True)
    (folder / "conf" / "pipelines").mkdir(parents=True)
    (folder / "conf" / "project.yml").write_text("name: executors\n")
    for name, source in modules.items():
        (folder / "pipelines" / f"{name}.py").write_text(source)
        (folder / "conf" / "pipelines" / f"{name}.yml").write_text(f"run: {run}\n")
    return Project.load(folder)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = _project(tmp_path_factory.mktemp("executors"), {"plain": _PLAIN, "parallel": _PARALLEL})
    yield project
    for name in project.pipelines:
        project.graph(name).close()


def _need(executor: str) -> dict[str, Any]:
    package = {"ray": "ray", "dask": "distributed"}.get(executor)
    if package:
        pytest.importorskip(package)
    return _EXECUTORS[executor]


@pytest.mark.parametrize("executor", _EXECUTORS)
def test_a_plain_pipeline_has_the_same_outputs_everywhere(project: Project, executor: str) -> None:
    chosen = _need(executor)

    outputs = project.run("plain", {"number": 3}, executor=chosen)

    assert outputs["total"] == 9
    assert (outputs["where"] != os.getpid()) == (executor in _ELSEWHERE)


@pytest.mark.parametrize("executor", _EXECUTORS)
def test_parallelizable_works_everywhere_and_its_nodes_are_heard_of(project: Project, executor: str) -> None:
    reports: list[NodeReport] = []
    chosen = _need(executor)

    outputs = project.run("parallel", {"count": 4}, ["visits", "total"], executor=chosen, report=reports.append)

    assert outputs["total"] == 14
    here = [os.getpid(), threading.get_ident()]
    assert [visit[0] for visit in outputs["visits"]] == [0, 1, 4, 9]
    assert all((place == here) == (executor in {"local", "synchronous"}) for _, *place in outputs["visits"])
    ended = [report.node for report in reports if report.duration_s is not None]
    assert sorted(ended) == sorted(["item", *["squared", "visit"] * 4, "visits", "total"])
    assert len(reports) == 2 * len(ended)


@pytest.mark.parametrize("executor", _EXECUTORS)
def test_what_fails_is_named_with_the_users_lines(project: Project, executor: str) -> None:
    chosen = _need(executor)

    with pytest.raises(PipelineFailedError) as failed:
        project.run("parallel", {"count": 4, "bad": 2}, ["total"], executor=chosen)

    assert failed.value.node == "squared"
    assert "boom at 2" in str(failed.value)
    assert 'raise BoomError(item, "boom")' in failed.value.trace
    assert project.run("parallel", {"count": 2}, ["total"], executor=chosen) == {"total": 1}


def test_threads_run_independent_nodes_at_the_same_time(tmp_path: Path) -> None:
    source = """
import threading
both = threading.Barrier(2, timeout=30)
def left() -> int:
    return both.wait()
def right() -> int:
    return both.wait()
"""
    project = _project(tmp_path, {"pair": source})

    outputs = project.run("pair", executor={"type": "threadpool", "max_workers": 2})

    assert sorted(outputs.values()) == [0, 1]


def test_a_failure_waits_for_what_still_runs(tmp_path: Path) -> None:
    source = """
import threading
started, slow_is_done = threading.Event(), []
def quick() -> int:
    started.wait(30)
    raise ValueError("no")
def slow() -> int:
    started.set()
    threading.Event().wait(0.2)
    slow_is_done.append(1)
    return 1
"""
    project = _project(tmp_path, {"overlap": source})

    with pytest.raises(PipelineFailedError, match="no"):
        project.run("overlap", executor={"type": "threadpool", "max_workers": 2})

    assert importlib.import_module("pipelines.overlap").slow_is_done == [1]


def test_a_value_that_cannot_travel_is_named(tmp_path: Path) -> None:
    source = """
import threading
def lock() -> object:
    return threading.Lock()
"""
    project = _project(tmp_path, {"locked": source})

    with pytest.raises(PipelineFailedError, match="What 'lock' returns cannot be sent from another process") as failed:
        project.run("locked", executor=_EXECUTORS["processpool"])

    assert failed.value.node == "lock"
    project.graph("locked").close()


def test_a_process_that_dies_fails_the_run_and_the_next_one_has_a_new_pool(tmp_path: Path) -> None:
    source = """
import os
def fate(die: bool) -> int:
    if die:
        os._exit(3)
    return 1
"""
    project = _project(tmp_path, {"mortal": source})
    with pytest.raises(PipelineFailedError) as failed:
        project.run("mortal", {"die": True}, executor=_EXECUTORS["processpool"])

    assert failed.value.node == "fate"
    assert project.run("mortal", {"die": False}, executor=_EXECUTORS["processpool"]) == {"fate": 1}
    project.graph("mortal").close()


def test_pools_are_shared_kept_and_gone_when_the_last_driver_is(tmp_path: Path) -> None:
    project = _project(tmp_path, {"plain": _PLAIN, "parallel": _PARALLEL})
    chosen = {"type": "processpool", "max_workers": 1, "num_cpus": 7}  # nobody else's
    before = set(multiprocessing.active_children())

    first = project.run("plain", {"number": 1}, ["where"], executor=chosen)
    second = project.run("plain", {"number": 2}, ["where"], executor=chosen)
    project.run("parallel", {"count": 2}, ["total"], executor=chosen)
    ours = set(multiprocessing.active_children()) - before
    project.graph("plain").close()
    project.graph("parallel").close()

    assert first == second
    assert len(ours) == 1
    wait_for(lambda: not (set(multiprocessing.active_children()) & ours), what="the pool's process is gone")


def test_a_daemon_as_a_work_horse_is_may_have_a_pool(tmp_path: Path) -> None:
    _project(tmp_path, {"plain": _PLAIN})
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    daemon = context.Process(target=run_plain, args=(str(tmp_path), _EXECUTORS["processpool"], answer), daemon=True)

    daemon.start()

    assert answer.get(timeout=60) == {"total": 3}
    daemon.join(60)
    assert daemon.exitcode == 0
    answer.close()


@pytest.mark.parametrize(("executor", "package"), [("ray", "ray"), ("dask", "distributed")])
def test_a_missing_package_is_named_with_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executor: str, package: str
) -> None:
    project = _project(tmp_path, {"plain": _PLAIN})
    monkeypatch.setitem(importlib.sys.modules, package, None)  # type: ignore[attr-defined]  # as if not installed
    monkeypatch.setattr("fpbus.pipelines.pools._SharedPool._open", {})

    with pytest.raises(PipelineNotLoadableError, match=f"The executor '{executor}' needs the package") as error:
        project.run("plain", {"number": 1}, executor=executor)

    assert error.value.hint == f"Install it: pip install 'fpbus[{executor}]'"
    assert error.value.exit_code == 8


def test_an_unreachable_cluster_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dask = pytest.importorskip("dask")
    project = _project(tmp_path, {"plain": _PLAIN})

    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}), pytest.raises(PipelineNotLoadableError) as error:
        project.run("plain", {"number": 1}, executor={"type": "dask", "address": "tcp://127.0.0.1:9"})

    assert "tcp://127.0.0.1:9 cannot be reached" in str(error.value)


_ASYNC = """
import asyncio

async def slow(number: int, gate: object = None) -> int:
    if gate is not None:
        await gate.wait()
    await asyncio.sleep(0)
    return number + 1

def after(slow: int, number: int) -> int:
    return slow * 10 + number

async def failing(slow: int) -> int:
    raise KeyError("no")
"""


def test_async_functions_run_from_code_that_is_not_async(tmp_path: Path) -> None:
    project = _project(tmp_path, {"awaiting": _ASYNC})
    reports: list[NodeReport] = []

    outputs = project.run("awaiting", {"number": 2}, ["after"], report=reports.append)

    assert outputs == {"after": 32}
    assert [report.node for report in reports if report.duration_s is not None] == ["slow", "after"]
    assert [report.summary for report in reports if report.duration_s is not None] == ["int", "int"]


def test_an_async_node_that_fails_is_named(tmp_path: Path) -> None:
    project = _project(tmp_path, {"awaiting": _ASYNC})

    with pytest.raises(PipelineFailedError) as failed:
        project.run("awaiting", {"number": 2}, ["failing"])
    with pytest.raises(PipelineFailedError, match="The input 'number' is missing; 'after' and 'slow' need it"):
        project.run("awaiting", final_vars=["after"])

    assert failed.value.node == "failing"
    assert isinstance(failed.value.cause, KeyError)


def test_many_async_runs_wait_on_the_callers_loop_and_do_not_disturb_each_other(tmp_path: Path) -> None:
    project = _project(tmp_path, {"awaiting": _ASYNC, "plain": _PLAIN})

    async def all_at_once() -> list[dict[str, Any]]:
        gate = asyncio.Event()  # belongs to this loop
        runs = [
            asyncio.create_task(project.run_async("awaiting", {"number": number, "gate": gate}, ["after"]))
            for number in range(40)
        ]
        plain = await asyncio.gather(*[project.run_async("plain", {"number": n}, ["total"]) for n in range(5)])
        gate.set()
        return [*await asyncio.gather(*runs), *plain]

    outputs = asyncio.run(all_at_once())

    assert outputs[:40] == [{"after": (number + 1) * 10 + number} for number in range(40)]
    assert outputs[40:] == [{"total": 3 * number} for number in range(5)]


def test_a_cancelled_run_stops_on_the_loop_and_is_not_tried_again(tmp_path: Path) -> None:
    project = _project(tmp_path, {"awaiting": _ASYNC})
    retried: list[float] = []

    async def cancel() -> None:
        class Gate:
            def __init__(self) -> None:
                self.entered = asyncio.Event()
                self.left = asyncio.Event()

            async def wait(self) -> None:
                self.entered.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    self.left.set()

        gate = Gate()

        def retrying(_failed: PipelineFailedError, delay: float) -> None:
            retried.append(delay)

        settings = {"max_retries": 3, "retry_delay": 0.0, "retrying": retrying}
        run = asyncio.create_task(project.run_async("awaiting", {"number": 1, "gate": gate}, ["after"], **settings))
        await asyncio.wait_for(gate.entered.wait(), 30)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        await asyncio.wait_for(gate.left.wait(), 30)

    asyncio.run(cancel())

    assert retried == []


def test_a_pipeline_runs_inside_a_running_loop_as_in_a_notebook(tmp_path: Path) -> None:
    project = _project(tmp_path, {"awaiting": _ASYNC})

    async def cell() -> dict[str, Any]:
        return project.run("awaiting", {"number": 1}, ["after"])

    assert asyncio.run(cell()) == {"after": 21}


def test_async_driver_is_used_where_it_is_asked_for(tmp_path: Path) -> None:
    project = _project(tmp_path, {"plain": _PLAIN}, run="{async_driver: true}")

    assert project.run("plain", {"number": 2}, ["total"]) == {"total": 6}
    assert type(project.graph("plain").driver().dag).__name__ == "AsyncDriver"


def test_parallelizable_and_async_together_are_refused(tmp_path: Path) -> None:
    project = _project(tmp_path, {"mixed": _PARALLEL + "\nasync def later(total: int) -> int:\n    return total\n"})

    with pytest.raises(PipelineNotLoadableError, match="uses Parallelizable and async functions"):
        project.run("mixed", {"count": 1})


def test_additional_modules_add_nodes_and_later_ones_win(tmp_path: Path) -> None:
    more = "def tripled(number: int) -> int:\n    return number * 3\n"
    other = "def doubled(number: int) -> int:\n    return number * 20\n"
    run = "{additional_modules: [more, elsewhere.other]}"
    project = _project(tmp_path, {"plain": _PLAIN, "more": more}, run)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "other.py").write_text(other)

    assert project.run("plain", {"number": 1}, ["total", "tripled"]) == {"total": 21, "tripled": 3}


def test_a_missing_additional_module_is_named(tmp_path: Path) -> None:
    project = _project(tmp_path, {"plain": _PLAIN}, run="{additional_modules: [nowhere]}")

    with pytest.raises(PipelineNotLoadableError, match="The additional module 'nowhere' cannot be imported"):
        project.run("plain", {"number": 1})


def test_two_projects_in_one_process_have_their_own_pipelines(tmp_path: Path) -> None:
    first = _project(tmp_path / "first", {"same": "def value() -> int:\n    return 1\n"})
    second = _project(tmp_path / "second", {"same": "def value() -> int:\n    return 2\n"})
    (tmp_path / "second" / "pipelines" / "__init__.py").write_text("")

    assert first.run("same") == {"value": 1}
    assert second.run("same") == {"value": 2}
    assert first.run("same") == {"value": 1}
