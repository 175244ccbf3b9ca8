"""`fpbus pipeline check`: every fault of a project at once, with its place and what to do."""

import json
from pathlib import Path
from typing import Any

import pytest

from support.commands import Commands

TOTAL = """
import sys

print("printed on import")


def total(numbers: list, factor: float) -> float:
    return sum(numbers) * factor
"""


@pytest.fixture
def fpbus(tmp_path: Path) -> Commands:
    assert Commands(tmp_path)("init", "--name", "p").code == 0
    return Commands(tmp_path / "p")


def add(fpbus: Commands, name: str, module: str | None, config: str) -> None:
    if module is not None:
        (fpbus.folder / "pipelines" / f"{name}.py").write_text(module)
    (fpbus.folder / "conf" / "pipelines" / f"{name}.yml").write_text(config)


def check(fpbus: Commands, *arguments: str) -> tuple[int | None, list[dict[str, Any]]]:
    done = fpbus("pipeline", "check", *arguments, "--format", "json")
    return done.code, json.loads(done.out)


def test_a_project_without_faults_is_well(fpbus: Commands) -> None:
    add(fpbus, "total", TOTAL, "run: {inputs: {numbers: [1]}, final_vars: [total]}\nparams: {factor: 2}\n")

    done = fpbus("pipeline", "check")

    assert (done.code, done.out) == (0, "")
    assert done.told == "printed on import\nall well: 2 pipelines\n"
    assert check(fpbus) == (0, [])


@pytest.mark.parametrize(
    ("module", "file", "line", "words"),
    [
        (None, "pipelines/bad.py", None, "has no module"),
        ("x = 1\nimport nothing_there\n", "pipelines/bad.py", 2, "No module named 'nothing_there'"),
        ("def a(x: int) -> int\n    return x\n", "pipelines/bad.py", 1, "SyntaxError"),
        (
            "def a(b: int) -> int:\n    return b\n\n\ndef b(a: int) -> int:\n    return a\n",
            "pipelines/bad.py",
            None,
            "circle",
        ),
        ("def a(x: int):\n    return x\n", "pipelines/bad.py", None, "'a' does not say what it returns"),
    ],
)
def test_a_module_that_is_no_dag_is_told_with_its_place(
    fpbus: Commands, module: str | None, file: str, line: int | None, words: str
) -> None:
    add(fpbus, "bad", module, "{}\n")

    code, (finding,) = check(fpbus)

    assert (code, finding["file"], finding.get("line")) == (8, file, line)
    assert words in finding["message"]


@pytest.mark.parametrize(
    ("config", "key", "words", "hint"),
    [
        (
            "run:\n  final_vars:\n  - total\n  - totl",
            "run.final_vars.1",
            "there is no node 'totl'.",
            "Did you mean 'total'?",
        ),
        (
            "run:\n  final_vars: [total]\n\n  cache: {recompute: [tota]}",
            "run.cache.recompute.0",
            "no node 'tota'",
            "Did you mean 'total'?",
        ),
        (
            "params: {factor: 1}\nrun:\n\n  with_adapter: {mlfow: true}",
            None,
            "'mlfow'",
            "Did you mean 'mlflow'?",
        ),
    ],
)
def test_a_name_that_does_not_exist_is_a_fault(
    fpbus: Commands, config: str, key: str | None, words: str, hint: str
) -> None:
    add(fpbus, "total", TOTAL, config)

    code, (finding,) = check(fpbus, "total")

    assert (code, finding["file"], finding["line"]) == (8, "conf/pipelines/total.yml", 4)
    assert finding["hint"] == hint
    assert key is None or finding["key"] == key
    assert words in finding["message"]


def test_a_value_that_nobody_asks_for_is_a_warning(fpbus: Commands) -> None:
    add(fpbus, "total", TOTAL, "run: {inputs: {number: [1]}}\nparams: {factr: 2, factor: 1}\n")

    code, findings = check(fpbus)
    table = fpbus("pipeline", "check")

    assert code == 0
    assert [(finding["key"], finding["hint"], finding["warning"]) for finding in findings] == [
        ("run.inputs.number", "Did you mean 'numbers'?", True),
        ("params.factr", "Did you mean 'factor'?", True),
    ]
    assert "warning: no function asks for 'number'." in table.out
    assert "all well: 2 pipelines" in table.told


def test_every_fault_of_every_file_is_told(fpbus: Commands) -> None:
    add(fpbus, "total", TOTAL, "run: {final_vars: [totl, tota]}\n")
    add(fpbus, "typo", TOTAL, "runn: {}\n")
    add(fpbus, "broken", TOTAL, "run: [\n")
    add(fpbus, "gone", None, "{}\n")

    done = fpbus("pipeline", "check")

    assert done.code == 8
    assert done.out.splitlines()[0].split("  ")[0] == "WHERE"
    for words in ("totl", "tota", "runn", "conf/pipelines/broken.yml", "pipelines/gone.py"):
        assert words in done.out
    assert "all well" not in done.told


def test_a_hook_that_cannot_be_used_is_a_fault(fpbus: Commands) -> None:
    (fpbus.folder / "hooks" / "audit.py").write_text("import nothing_there\n")

    code, (finding,) = check(fpbus)

    assert (code, finding["file"], finding["line"]) == (8, "hooks/audit.py", 1)


def test_a_fault_of_the_projects_own_file_is_told(fpbus: Commands) -> None:
    (fpbus.folder / "conf" / "project.yml").write_text("name: p\ntimezon: UTC\n")

    code, findings = check(fpbus)

    assert code == 8
    assert findings[0]["file"] == "conf/project.yml"
    assert "timezon" in str(findings[0])
    assert "timezone" in str(findings[0])


def test_one_pipeline_is_checked_by_name(fpbus: Commands) -> None:
    add(fpbus, "bad", "import nothing_there\n", "{}\n")

    assert check(fpbus, "hello") == (0, [])
    assert fpbus("pipeline", "check", "helo").code == 4


@pytest.mark.parametrize(
    ("schedule", "line", "key", "words"),
    [
        ('cron: "61 * * * *"', 3, "schedule.cron", "five fields"),
        ("cron: {hour: 25}", 3, "schedule.cron", "bad hour"),
        ('cron: "0 5 * * *"\n  interval: 5m', 2, "schedule", "one of"),
        ("date: tomorrow", 3, "schedule.date", "ISO time"),
        ("interval: 0s", 3, "schedule.interval", "1 second"),
        ("interval: 5m\n  end: never", 4, "schedule.end", "ISO time"),
        ("enabled: true", 2, "schedule", "one of"),
    ],
)
def test_a_schedule_that_means_nothing_is_told(fpbus: Commands, schedule: str, line: int, key: str, words: str) -> None:
    add(fpbus, "hello", None, f"run: {{}}\nschedule:\n  {schedule}\n")

    code, (finding,) = check(fpbus, "hello")

    assert (code, finding["file"], finding["line"], finding["key"]) == (8, "conf/pipelines/hello.yml", line, key)
    assert words in finding["message"]


def test_a_pipeline_that_is_to_run_next_has_to_be_there(fpbus: Commands) -> None:
    add(fpbus, "hello", None, "on_success:\n  - hello\n  - pipeline: helo\non_failure: [alert]\n")

    code, findings = check(fpbus, "hello")

    assert code == 8
    assert [(finding["line"], finding["key"], finding.get("hint")) for finding in findings] == [
        (3, "on_success.1.pipeline", "Did you mean 'hello'?"),
        (4, "on_failure.0", None),
    ]


def test_a_hook_of_a_pipeline_that_is_not_there_is_odd(fpbus: Commands) -> None:
    hook = "from fpbus.pipelines.hooks import after_run\n\n\n@after_run('hel*', 'helo')\ndef note(end): ...\n"
    (fpbus.folder / "hooks/notes.py").write_text(hook)

    code, (finding,) = check(fpbus)

    assert (code, finding["file"], finding["hint"], finding["warning"]) == (
        0,
        "hooks/notes.py",
        "Did you mean 'hello'?",
        True,
    )
    assert "'helo'" in finding["message"]


def test_a_codec_that_cannot_be_imported_is_named_with_its_line(fpbus: Commands) -> None:
    triggers = "triggers:\n  - topic: a/+\n    inputs: {}\n  - topic: b/+\n    format: pipelines.hello.read\n"
    add(fpbus, "hello", None, triggers)

    code, findings = check(fpbus)

    assert code == 8
    assert [(each["line"], each["key"]) for each in findings] == [(5, "triggers.1.format")]
    assert "has no attribute 'read'" in findings[0]["message"]
