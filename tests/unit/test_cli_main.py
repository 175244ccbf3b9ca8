"""The command line as a whole, without a bus."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, get_args

import pytest

from fpbus.cli.main import main
from fpbus.cli.options import PriorityName, RoleName, StateName
from fpbus.project import load_project
from fpbus.schemas import Priority, Role, RunState


class Done(NamedTuple):
    """What a command left behind."""

    code: object
    out: str
    told: str


Fpbus = Callable[..., Done]


@pytest.fixture
def fpbus(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Fpbus:
    """Run a command in an empty folder, where no settings of the developer's reach it."""
    monkeypatch.setattr("os.environ", {name: value for name, value in os.environ.items() if name[:6] != "FPBUS_"})
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Done:
        monkeypatch.setattr("sys.argv", ["fpbus", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return Done(end.value.code, said.out, said.err)

    return run


def test_the_choices_of_options_are_those_of_the_bus() -> None:
    assert set(get_args(StateName)) == {str(state) for state in RunState}
    assert set(get_args(PriorityName)) == {str(priority) for priority in Priority}
    assert set(get_args(RoleName)) == {str(role) for role in Role}


def test_help_names_every_command(fpbus: Fpbus) -> None:
    done = fpbus("--help")

    assert done.code == 0
    for command in ("init", "up", "serve", "health", "ps", "trigger", "watch", "runs", "pipeline", "ui", "demo"):
        assert re.search(rf"^  {command} ", done.out, re.MULTILINE)


def test_version_is_one_line(fpbus: Fpbus) -> None:
    done = fpbus("--version")

    assert re.fullmatch(r"fpbus \d+\.\d+\.\d+\S*\n", done.out)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("trigge",), "Did you mean 'trigger'?"),
        (("runs", "lst"), "Did you mean 'list'?"),
        (("trigger",), "Missing argument"),
        (("trigger", "hello", "--inputs", "{"), "--inputs: this is no JSON"),
        (("trigger", "hello", "--input", "x"), "--input: 'x' is not of the form name=value"),
        (("trigger", "hello", "--run-id", "a b"), "'a b' is no run id"),
        (("trigger", "hello", "--not-before", "soon"), "'soon' is no time"),
        (("trigger", "hello", "--priority", "urgent"), "'urgent'"),
        (("watch", "a/b"), "'a/b' is no run id"),
        (("watch", "a", "--pipeline", "b"), "give either"),
        (("runs", "list", "--state", "finished"), "'finished'"),
        (("runs", "list", "--limit", "0"), "--limit"),
        (("serve", "cook"), "'cook'"),
        (("serve", "recorder", "--workers", "2"), "only the runner has workers"),
        (("serve", "recorder", "--config", "nowhere"), "neither a project's folder nor a conf/project.yml"),
    ],
)
def test_a_wrong_command_line_is_told_on_standard_error(fpbus: Fpbus, arguments: tuple[str, ...], words: str) -> None:
    done = fpbus(*arguments)

    assert (done.code, done.out) == (2, "")
    assert words in done.told


def test_init_makes_a_project_and_says_what_comes_next(fpbus: Fpbus, tmp_path: Path) -> None:
    done = fpbus("init", "--name", "greenhouse", "--job-queue-type", "rq")

    assert done.code == 0
    assert (tmp_path / "greenhouse" / "conf" / "project.yml").is_file()
    assert str(tmp_path / "greenhouse" / "README.md") in done.out.splitlines()
    assert f"cd {tmp_path}/greenhouse && fpbus pipeline run hello" in done.told
    assert "fpbus up" in done.told


def test_init_takes_the_name_of_the_folder_and_overwrites_nothing(fpbus: Fpbus, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")

    first = fpbus("init", "--base-dir", str(tmp_path))
    second = fpbus("init", "--base-dir", str(tmp_path))

    assert (first.code, second.code) == (0, 8)
    assert (tmp_path / "README.md").read_text() == "mine"
    assert tmp_path.name in (tmp_path / "conf" / "project.yml").read_text()
    assert second.told == f"Error: There is a project at {tmp_path} already.\nNothing was changed.\n"


def test_a_bare_project_has_no_pipeline(fpbus: Fpbus, tmp_path: Path) -> None:
    done = fpbus("init", "-n", "empty", "--bare")

    files = {str(path.relative_to(tmp_path / "empty")) for path in (tmp_path / "empty").rglob("*")}
    assert files == {
        *("conf", "conf/project.yml", "conf/pipelines", "pipelines", "pipelines/__init__.py"),
        *("hooks", "hooks/__init__.py", "README.md", ".gitignore"),
    }
    assert "fpbus pipeline new" in done.told


@pytest.mark.parametrize(
    "name", ["null", "on", "12", "1e3", "a: b", "- x", "#", "'", 'q"uote', "{x}", "Größe", "x" * 200]
)
def test_a_name_of_any_kind_stays_what_it_is(fpbus: Fpbus, tmp_path: Path, name: str) -> None:
    done = fpbus("init", "--name", name)

    assert done.code == 0
    assert load_project(tmp_path / name).name == name


@pytest.mark.parametrize("name", ["a/b", "..", ".", ""])
def test_a_name_that_is_no_folders_is_refused(fpbus: Fpbus, tmp_path: Path, name: str) -> None:
    done = fpbus("init", "--name", name)

    assert (done.code, list(tmp_path.iterdir())) == (2, [])
    assert "--name" in done.told


def test_init_uses_a_folder_that_is_there(fpbus: Fpbus, tmp_path: Path) -> None:
    (tmp_path / "base" / "house" / "pipelines").mkdir(parents=True)
    (tmp_path / "base" / "house" / "pipelines" / "__init__.py").write_text("# mine")

    done = fpbus("init", "-n", "house", "-d", "base", "-q", "rq")

    assert done.code == 0
    assert (tmp_path / "base" / "house" / "pipelines" / "__init__.py").read_text() == "# mine"
    assert str(tmp_path / "base" / "house" / "pipelines" / "__init__.py") not in done.out.splitlines()


def test_init_says_which_file_is_in_its_way(fpbus: Fpbus, tmp_path: Path) -> None:
    (tmp_path / "conf").write_text("a file")

    done = fpbus("init")

    assert done.code == 8
    assert f"{tmp_path}/conf" in done.told


def test_hamiltons_ui_is_named_when_it_is_not_installed(fpbus: Fpbus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hamilton_ui", None)

    done = fpbus("ui")

    assert (done.code, done.out) == (8, "")
    assert "pip install 'fpbus[ui]'" in done.told


@pytest.mark.parametrize("arguments", [("--settings", "dev"), ("-s", "prod"), ("-c", "nowhere.ini"), ("-s", "tiny")])
def test_hamiltons_ui_needs_a_configuration_for_more_than_mini(fpbus: Fpbus, arguments: tuple[str, ...]) -> None:
    assert fpbus("ui", *arguments).code == 2


def test_up_outside_a_project_says_how_to_make_one(fpbus: Fpbus, tmp_path: Path) -> None:
    done = fpbus("up")

    assert done.code == 8
    assert "There is no fpbus project at" in done.told
    assert "fpbus init" in done.told


def test_a_setting_that_cannot_be_used_is_named(fpbus: Fpbus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPBUS_LOG_FORMAT", "xml")

    done = fpbus("ps")

    assert (done.code, done.told) == (8, "Error: FPBUS_LOG_FORMAT is 'xml'; it must be console or json.\n")


def test_a_traceback_is_shown_when_asked_for(fpbus: Fpbus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPBUS_LOG_FORMAT", "xml")
    monkeypatch.setenv("FPBUS_LOG_LEVEL", "debug")

    done = fpbus("ps")

    assert done.told.startswith("Traceback")


@pytest.mark.parametrize(
    "arguments", [("--log-level", "DEBUG", "ps"), ("--log-level", "debug", "pipeline", "run", "x")]
)
def test_a_traceback_is_shown_for_the_option_too(
    fpbus: Fpbus, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setenv("FPBUS_INSTANCE", "a b")
    monkeypatch.setenv("FPBUS_PROJECT", "/nowhere")

    assert fpbus(*arguments).told.startswith("Traceback")


def test_importing_the_main_module_starts_nothing() -> None:
    script = "import sys, fpbus.__main__; print('typer' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)

    assert done.stdout == "False\n"


def test_the_command_line_is_there_before_anything_large_is_loaded() -> None:
    large = ("msgspec", "fpbus.schemas", "fpbus.bus", "hamilton", "pandas", "paho", "redis", "rq", "rich", "yaml")
    code = f"import sys; import fpbus.cli.main; print([name for name in {large} if name in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
