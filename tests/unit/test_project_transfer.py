"""Pipelines copied between projects, and deleted."""

from pathlib import Path

import pytest

from fpbus.project import ProjectError, UnknownPipelineError
from fpbus.project.transfer import PipelineExistsError, copy_pipelines, delete_pipeline


def make(folder: Path, *names: str, files: dict[str, str] | None = None) -> Path:
    texts = {"conf/project.yml": "name: shop\n", "pipelines/__init__.py": "", **(files or {})}
    for name in names:
        texts |= {
            f"conf/pipelines/{name}.yml": f"params: {{of: {folder.name}}}\n",
            f"pipelines/{name}.py": f"# {name}\n",
        }
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    hooks = {"hooks/sales/audit.py": "# audit\n", "hooks/sales/__pycache__/audit.pyc": "", "hooks/common.py": ""}
    return make(tmp_path / "source", "sales", "heat-alarm", files=hooks)


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return make(tmp_path / "destination")


def test_a_pipeline_is_copied_with_its_configuration_and_its_hooks(source: Path, destination: Path) -> None:
    before = tree(destination)

    written = copy_pipelines(source, destination, ["sales"])

    names = ["conf/pipelines/sales.yml", "hooks/sales/audit.py", "pipelines/sales.py"]
    assert sorted(str(path.relative_to(destination)) for path in written) == names
    assert tree(destination) == before | {name: tree(source)[name] for name in names}


def test_hooks_go_where_the_other_project_has_its_own(source: Path, tmp_path: Path) -> None:
    destination = make(tmp_path / "destination", files={"conf/project.yml": "name: shop\nhooks_dir: src/callbacks\n"})

    copy_pipelines(source, destination, ["sales"])

    assert (destination / "src/callbacks/sales/audit.py").read_text() == "# audit\n"


def test_without_names_all_are_copied(source: Path, destination: Path) -> None:
    copy_pipelines(source, destination, None)

    assert {"pipelines/sales.py", "pipelines/heat-alarm.py"} < set(tree(destination))


def test_a_name_said_twice_is_copied_once(source: Path, destination: Path) -> None:
    assert len(copy_pipelines(source, destination, ["heat-alarm", "heat-alarm"])) == 2


@pytest.mark.parametrize("existing", ["conf/pipelines/sales.yml", "pipelines/sales.py", "hooks/sales/other.py"])
def test_what_exists_is_not_replaced_and_then_nothing_is_copied(source: Path, tmp_path: Path, existing: str) -> None:
    destination = make(tmp_path / "destination", files={existing: ""})
    before = tree(destination)

    with pytest.raises(PipelineExistsError, match=existing) as caught:
        copy_pipelines(source, destination, ["heat-alarm", "sales"])

    assert "--overwrite" in str(caught.value.hint)
    assert tree(destination) == before


def test_overwriting_leaves_what_the_source_has(source: Path, tmp_path: Path) -> None:
    destination = make(tmp_path / "destination", "sales", "other", files={"hooks/sales/stale.py": ""})

    copy_pipelines(source, destination, ["sales"], overwrite=True)

    copied = tree(destination)
    assert copied["conf/pipelines/sales.yml"] == "params: {of: source}\n"
    assert copied["conf/pipelines/other.yml"] == "params: {of: destination}\n"
    assert "hooks/sales/stale.py" not in copied
    assert "hooks/sales/audit.py" in copied


def test_an_unknown_name_is_told_and_then_nothing_is_copied(source: Path, destination: Path) -> None:
    before = tree(destination)

    with pytest.raises(UnknownPipelineError) as caught:
        copy_pipelines(source, destination, ["sales", "heat_alarm"])

    assert caught.value.hint == "Did you mean 'heat-alarm'?"
    assert tree(destination) == before


def test_a_pipeline_without_a_module_is_not_copied(source: Path, destination: Path) -> None:
    (source / "pipelines/sales.py").unlink()
    before = tree(destination)

    with pytest.raises(ProjectError, match=r"pipelines/sales\.py is missing"):
        copy_pipelines(source, destination, ["heat-alarm", "sales"])

    assert tree(destination) == before


def test_when_a_file_cannot_be_written_all_are_put_back(source: Path, tmp_path: Path) -> None:
    destination = make(tmp_path / "destination", "sales")
    (destination / "hooks").mkdir()
    (destination / "hooks/sales").write_text("a file where the folder should be")
    before = tree(destination)

    with pytest.raises(ProjectError, match=r"hooks/sales") as caught:
        copy_pipelines(source, destination, ["heat-alarm", "sales"], overwrite=True)

    assert caught.value.hint == "Nothing was changed."
    assert tree(destination) == before


def test_a_folder_without_a_project_is_no_place_to_copy_to(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="no fpbus project"):
        copy_pipelines(source, tmp_path, ["sales"])


def test_a_project_is_not_copied_into_itself(source: Path) -> None:
    with pytest.raises(ProjectError, match="both projects"):
        copy_pipelines(source, source / "conf/..", ["sales"], overwrite=True)


@pytest.mark.parametrize(
    ("cfg", "module", "deleted"),
    [
        (False, False, ["conf/pipelines/sales.yml", "pipelines/sales.py"]),
        (True, True, ["conf/pipelines/sales.yml", "pipelines/sales.py"]),
        (True, False, ["conf/pipelines/sales.yml"]),
        (False, True, ["pipelines/sales.py"]),
    ],
)
def test_what_is_said_is_deleted(source: Path, *, cfg: bool, module: bool, deleted: list[str]) -> None:
    before = tree(source)

    paths = delete_pipeline(source, "sales", cfg=cfg, module=module)

    assert [str(path.relative_to(source)) for path in paths] == deleted
    assert tree(source) == {path: text for path, text in before.items() if path not in deleted}


def test_what_is_left_of_a_pipeline_can_be_deleted(source: Path) -> None:
    delete_pipeline(source, "sales", cfg=True)

    assert delete_pipeline(source, "sales") == [source / "pipelines/sales.py"]


def test_what_is_not_there_cannot_be_deleted(source: Path) -> None:
    delete_pipeline(source, "sales", module=True)
    before = tree(source)

    with pytest.raises(ProjectError, match=r"has no pipelines/sales\.py") as missing:
        delete_pipeline(source, "sales", module=True)
    with pytest.raises(UnknownPipelineError) as unknown:
        delete_pipeline(source, "heat-alram")

    assert missing.value.exit_code == unknown.value.exit_code == 4
    assert unknown.value.hint == "Did you mean 'heat-alarm'?"
    assert tree(source) == before


@pytest.mark.parametrize("name", ["../secret", "__init__", "", "/etc/passwd", "../project"])
def test_a_name_that_is_no_pipelines_deletes_nothing(source: Path, name: str) -> None:
    (source / "conf/secret.yml").write_text("")
    (source / "secret.py").write_text("")
    before = tree(source)

    with pytest.raises(UnknownPipelineError):
        delete_pipeline(source, name)

    assert tree(source) == before
