"""`fpbus pipeline` commands that make, copy and delete files; what is asserted is what lies there afterwards."""

import json
import re
from pathlib import Path

import pytest
import yaml

from fpbus.project import load_pipeline
from fpbus.schemas import PipelineConfig
from support.commands import Commands


@pytest.fixture
def fpbus(tmp_path: Path) -> Commands:
    """Type commands in a project that has the pipeline `hello`."""
    assert Commands(tmp_path)("init", "--name", "p").code == 0
    return Commands(tmp_path / "p")


@pytest.fixture
def other(fpbus: Commands, tmp_path: Path) -> Path:
    """A second project, without pipelines."""
    assert Commands(tmp_path)("init", "--name", "other", "--bare").code == 0
    return tmp_path / "other"


def files_of(folder: Path, name: str) -> list[str]:
    return sorted(
        str(path.relative_to(folder)) for path in folder.rglob(f"{name}.*") if "__pycache__" not in path.parts
    )


def test_a_new_pipeline_runs_at_once(fpbus: Commands) -> None:
    made = fpbus("pipeline", "new", "first.of-many")
    run = fpbus("pipeline", "run", "first.of-many", "--format", "json")

    assert made.code == 0
    assert [Path(line) for line in made.out.splitlines()] == [
        fpbus.folder / "pipelines" / "first.of-many.py",
        fpbus.folder / "conf" / "pipelines" / "first.of-many.yml",
    ]
    assert (run.code, run.out) == (0, '{"total":12.0}\n')


def test_a_new_pipelines_file_shows_every_key_with_its_default(fpbus: Commands) -> None:
    fpbus("pipeline", "new", "shown")
    path = fpbus.folder / "conf" / "pipelines" / "shown.yml"
    text = path.read_text()
    before = load_pipeline(fpbus.folder, "shown")

    shown = re.sub(r"^(\s*)# (?=(  )?[a-z_]+: ?)", r"\1", text, flags=re.MULTILINE)
    shown = re.sub(r"^# (schedule:|  [a-z]+: .*)$", r"\1", shown, flags=re.MULTILINE)
    path.write_text(shown)

    keys = yaml.safe_load(shown)
    assert set(keys) == set(PipelineConfig.__struct_fields__)
    assert set(keys["run"]) == set(type(before.run).__struct_fields__)
    after = load_pipeline(fpbus.folder, "shown")
    assert (after.run.executor, after.run.max_retries, after.run.retry_delay) == (before.run.executor, 0, 5.0)
    assert (after.params, after.adapter, after.hooks) == (before.params, before.adapter, before.hooks)


def test_a_pipeline_that_is_there_is_replaced_only_on_demand(fpbus: Commands) -> None:
    module = fpbus.folder / "pipelines" / "hello.py"
    before = module.read_text()

    refused = fpbus("pipeline", "new", "hello")
    kept = module.read_text()
    replaced = fpbus("pipeline", "new", "hello", "--overwrite")

    assert (refused.code, refused.out, kept) == (8, "", before)
    assert "There is a pipeline 'hello' already" in refused.told
    assert "--overwrite" in refused.told
    assert (replaced.code, module.read_text() == before) == (0, False)


@pytest.mark.parametrize("name", ["Upper", "a/b", "../a", "ä", "a b", "-a", "x" * 65, "", "__init__"])
def test_an_illegal_name_is_refused(fpbus: Commands, name: str) -> None:
    before = sorted(fpbus.folder.rglob("*"))

    done = fpbus("pipeline", "new", "--", name)

    assert (done.code, sorted(fpbus.folder.rglob("*"))) == (2, before)
    assert "cannot name a pipeline" in done.told


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ((), []),
        (("--cfg", "--module"), []),
        (("--cfg",), ["pipelines/hello.py"]),
        (("-c",), ["pipelines/hello.py"]),
        (("--module",), ["conf/pipelines/hello.yml"]),
        (("-m",), ["conf/pipelines/hello.yml"]),
    ],
)
def test_delete_deletes_what_it_is_asked_to(fpbus: Commands, options: tuple[str, ...], left: list[str]) -> None:
    done = fpbus("pipeline", "delete", "hello", *options)

    assert (done.code, files_of(fpbus.folder, "hello")) == (0, left)
    assert len(done.out.splitlines()) == 2 - len(left)


@pytest.mark.parametrize("name", ["helo", "../p/pipelines/hello", "__init__"])
def test_what_is_not_there_cannot_be_deleted(fpbus: Commands, name: str) -> None:
    before = sorted(fpbus.folder.rglob("*"))

    done = fpbus("pipeline", "delete", name)

    assert (done.code, done.out, sorted(fpbus.folder.rglob("*"))) == (4, "", before)
    assert "No pipeline named" in done.told


def test_pipelines_are_exported_and_run_there(fpbus: Commands, other: Path) -> None:
    exported = fpbus("pipeline", "export", "hello", "--to", "../other")
    run = fpbus("pipeline", "run", "hello", "--base-dir", str(other), "--format", "json")

    assert (exported.code, files_of(other, "hello")) == (0, ["conf/pipelines/hello.yml", "pipelines/hello.py"])
    assert json.loads(run.out) == {"fahrenheit": 70.7, "comfort": "comfortable"}


def test_all_pipelines_are_imported(fpbus: Commands, other: Path) -> None:
    fpbus("pipeline", "new", "second")

    done = Commands(other)("pipeline", "import", "--all", "--from", str(fpbus.folder))

    assert done.code == 0
    assert sorted(path.stem for path in (other / "conf" / "pipelines").iterdir()) == ["hello", "second"]


def test_what_is_there_is_imported_over_only_on_demand(fpbus: Commands, other: Path) -> None:
    here = Commands(other)
    here("pipeline", "new", "hello")
    own = (other / "pipelines" / "hello.py").read_text()

    refused = here("pipeline", "import", "hello", "--from", str(fpbus.folder))
    kept = (other / "pipelines" / "hello.py").read_text()
    replaced = here("pipeline", "import", "hello", "--from", str(fpbus.folder), "--overwrite")

    assert (refused.code, kept == own, replaced.code) == (8, True, 0)
    assert (other / "pipelines" / "hello.py").read_text() == (fpbus.folder / "pipelines" / "hello.py").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("import", "--from", "../other"), 2, "name the pipelines, or say --all"),
        (("export", "hello", "--all", "--to", "../other"), 2, "name the pipelines, or say --all"),
        (("export", "hello"), 2, "--to"),
        (("export", "helo", "--to", "../other"), 4, "Did you mean 'hello'?"),
        (("import", "hello", "--from", "../nowhere"), 8, "There is no folder"),
        (("export", "hello", "--to", "."), 8, "both projects"),
    ],
)
def test_what_cannot_be_copied_is_told(
    fpbus: Commands, other: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = fpbus("pipeline", *arguments)

    assert (done.code, done.out) == (code, "")
    assert words in done.told
    assert files_of(other, "hello") == []


def test_a_hook_is_written_and_called(fpbus: Commands) -> None:
    written = fpbus("pipeline", "add_hook", "hello", "--function", "note", "--type", "on-success")

    assert written.code == 0
    assert "def note(" in Path(written.out.strip()).read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("hello",), 2, "--function"),
        (("helo", "-f", "note"), 4, "Did you mean 'hello'?"),
        (("hello", "-f", "note", "--type", "on-succes"), 2, "Did you mean 'on_success'?"),
        (("hello", "-f", "no te"), 2, "cannot name a function"),
        (("hello", "-f", "note", "--to", "../../x.py"), 2, "leads out of"),
    ],
)
def test_a_hook_that_cannot_be_is_refused(fpbus: Commands, arguments: tuple[str, ...], code: int, words: str) -> None:
    done = fpbus("pipeline", "add-hook", *arguments)

    assert (done.code, done.out) == (code, "")
    assert words in done.told


def test_a_project_at_a_url_is_made_changed_and_run_there(fpbus: Commands, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    url = f"file://{store}"

    made = fpbus("init", "--name", "far", "--base-dir", url, "--storage-options", "auto_mkdir=true")
    new = fpbus("pipeline", "new", "second", "--base-dir", f"{url}/far")
    run = fpbus("pipeline", "run", "second", "--base-dir", f"{url}/far", "--format", "json")

    assert (made.code, new.code, run.code) == (0, 0, 0)
    assert (store / "far" / "conf" / "project.yml").is_file()
    assert new.out.splitlines()[0] == f"{url}/far/pipelines/second.py"
    assert json.loads(run.out) == {"total": 12}


def test_a_url_without_a_project_is_told(fpbus: Commands, tmp_path: Path) -> None:
    done = fpbus("pipeline", "new", "second", "--base-dir", f"file://{tmp_path}")

    assert (done.code, done.out) == (8, "")
    assert f"There is no fpbus project at file://{tmp_path}." in done.told
