"""Hooks as a user meets them: around `Project.run`, with retries, and on messages."""

from pathlib import Path
from typing import Any

import pytest

from fpbus.pipelines import HookFailedError, PipelineFailedError, Project
from fpbus.project import make_project

FLAKY = """
from pathlib import Path

def tries(counter: str) -> int:
    path = Path(counter)
    count = int(path.read_text()) + 1 if path.exists() else 1
    path.write_text(str(count))
    return count

def answer(tries: int, succeed_at: int) -> int:
    if tries < succeed_at:
        raise ValueError(f"try {tries}")
    return tries
"""

NOTES = """
import json
from fpbus.pipelines.hooks import after_node, after_run, before_run, on_failure, on_message, on_success, message_config

def note(name, run, **more):
    with open(run.inputs["notes"], "a") as file:
        file.write(json.dumps([name, run.attempt, *more.values()]) + "\\n")

@before_run
def begin(run):
    note("before_run", run)
    if run.inputs.get("gate"):
        raise PermissionError("not today")

@after_run
def end(run):
    note("after_run", run, failed=run.failed_node)
    raise RuntimeError("hooks that listen harm nobody")

@on_success
def good(run):
    note("on_success", run, outputs=run.outputs)

@on_failure
def bad(run):
    note("on_failure", run, failed=run.failed_node, error=type(run.error).__name__)

@on_message
def read(message):
    return {"succeed_at": int(message.payload), "counter": message.topic}
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    make_project(tmp_path / "shop", "shop")
    (tmp_path / "shop/pipelines/flaky.py").write_text(FLAKY)
    (tmp_path / "shop/conf/pipelines/flaky.yml").write_text("run: {final_vars: [answer], retry_delay: 0}\n")
    (tmp_path / "shop/hooks/notes.py").write_text(NOTES)
    return Project.load(tmp_path / "shop")


def run(project: Project, succeed_at: int, retries: int, **inputs: Any) -> tuple[Any, list[Any]]:
    import json

    notes = project.folder / "notes.jsonl"
    given = {"counter": str(project.folder / "count"), "succeed_at": succeed_at, "notes": str(notes), **inputs}
    outcome: Any
    try:
        outcome = project.run("flaky", given, max_retries=retries)
    except PipelineFailedError as failed:
        outcome = failed
    return outcome, [json.loads(line) for line in notes.read_text().splitlines()]


def test_attempts_have_hooks_around_each_and_a_run_one_at_its_end(project: Project) -> None:
    outcome, notes = run(project, succeed_at=3, retries=2)
    assert outcome == {"answer": 3}
    assert notes == [
        ["before_run", 1],
        ["after_run", 1, "answer"],
        ["before_run", 2],
        ["after_run", 2, "answer"],
        ["before_run", 3],
        ["after_run", 3, None],
        ["on_success", 3, {"answer": 3}],
    ]


def test_on_failure_is_called_once_after_the_last_try(project: Project) -> None:
    outcome, notes = run(project, succeed_at=9, retries=1)
    assert isinstance(outcome, PipelineFailedError)
    assert notes[-1] == ["on_failure", 2, "answer", "ValueError"]
    assert [name for name, *_ in notes].count("on_failure") == 1


def test_a_gate_stops_the_run_before_any_node(project: Project) -> None:
    outcome, notes = run(project, succeed_at=1, retries=0, gate=True)
    assert isinstance(outcome, PipelineFailedError)
    assert isinstance(outcome.cause, PermissionError)
    assert "stopped the run: PermissionError: not today" in str(outcome)
    assert not (project.folder / "count").exists()
    assert [name for name, *_ in notes] == ["before_run", "after_run", "on_failure"]


def test_a_message_becomes_inputs_and_named_ones_win(project: Project) -> None:
    counter, notes = str(project.folder / "count"), str(project.folder / "notes.jsonl")
    named = {"notes": notes}
    assert project.run_message("flaky", counter, b"1", inputs=named) == {"answer": 1}
    with pytest.raises(PipelineFailedError):
        project.run_message("flaky", counter, b"1", inputs={**named, "succeed_at": 9})
    with pytest.raises(HookFailedError, match="could not read a message"):
        project.run_message("flaky", counter, b"many", inputs=named)


def test_node_hooks_are_told_of_each_node_of_each_run(project: Project) -> None:
    (project.folder / "hooks/nodes.py").write_text(
        "from fpbus.pipelines.hooks import after_node\nseen = []\n\n"
        "@after_node\ndef note(node):\n    seen.append((node.run_id, node.node))\n"
    )
    run(project, succeed_at=1, retries=0)
    run(project, succeed_at=1, retries=0)
    import sys

    seen = sys.modules["hooks.nodes"].seen
    assert [node for _, node in seen] == ["tries", "answer"] * 2
    assert len({run_id for run_id, _ in seen}) == 2
