"""`fpbus pipeline show-dag` and `save-dag`."""

import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from support.commands import Commands

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz' program dot is not on this machine")


@pytest.fixture
def fpbus(tmp_path: Path) -> Commands:
    assert Commands(tmp_path)("init", "--name", "p").code == 0
    return Commands(tmp_path / "p")


@pytest.mark.parametrize(
    ("style", "start"),
    [("dot", "digraph"), ("raw", "digraph"), ("mermaid", "---\ntitle"), ("svg", "<"), ("html", "<!")],
)
def test_text_is_printed(fpbus: Commands, style: str, start: str) -> None:
    done = fpbus("pipeline", "show_dag", "hello", "--format", style)

    assert done.code == 0
    assert done.out.lower().startswith(start)
    assert "fahrenheit" in done.out


@needs_dot
@pytest.mark.parametrize(("style", "magic"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_a_picture_that_cannot_be_opened_here_is_kept_where_it_is_said(
    fpbus: Commands, style: str, magic: bytes
) -> None:
    done = fpbus("pipeline", "show-dag", "hello", "--format", style)

    picture = Path(done.out.strip())
    assert picture.read_bytes().startswith(magic)
    shutil.rmtree(picture.parent)


@needs_dot
def test_a_picture_is_saved_in_the_project(fpbus: Commands) -> None:
    done = fpbus("pipeline", "save-dag", "hello")

    assert (done.code, done.out) == (0, f"{fpbus.folder}/graphs/hello.png\n")
    assert (fpbus.folder / "graphs" / "hello.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "file"),
    [
        (("--format", "svg"), "p/graphs/hello.svg"),
        (("--format", "mermaid"), "p/graphs/hello.mmd"),
        (("--format", "html", "--output-path", "x.html"), "p/x.html"),
        (("--output-path", "../deep/er/x.svg"), "deep/er/x.svg"),
        (("--output-path", "x.mmd"), "p/x.mmd"),
        (("--format", "dot", "--output-path", "conf"), "p/conf/hello.dot"),
        (("--format", "svg", "--output-path", "x.txt"), "p/x.txt"),
    ],
)
def test_a_drawing_is_saved_where_it_is_wanted(
    fpbus: Commands, tmp_path: Path, arguments: tuple[str, ...], file: str
) -> None:
    done = fpbus("pipeline", "save_dag", "hello", *arguments)

    assert done.code == 0
    assert (fpbus.folder / done.out.strip()).resolve() == tmp_path / file
    assert "fahrenheit" in (tmp_path / file).read_text()


def test_a_saved_svg_is_one(fpbus: Commands) -> None:
    done = fpbus("pipeline", "save-dag", "hello", "--format", "svg")

    assert ET.parse(done.out.strip()).getroot().tag.endswith("svg")  # noqa: S314 (our own file)


def test_a_missing_dot_is_told_with_the_remedy(fpbus: Commands) -> None:
    done = fpbus("pipeline", "save-dag", "hello", environment={"PATH": "/nowhere"})

    assert (done.code, done.out) == (8, "")
    assert "dot" in done.told
    assert "svg" in done.told
    assert not (fpbus.folder / "graphs").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("show-dag", "helo"), 4, "Did you mean 'hello'?"),
        (("save-dag", "hello", "--format", "gif"), 2, "'gif'"),
        (("save-dag", "bad", "--format", "svg"), 8, "No module named 'nothing_of_that_name'"),
    ],
)
def test_what_cannot_be_drawn_is_told(fpbus: Commands, arguments: tuple[str, ...], code: int, words: str) -> None:
    (fpbus.folder / "pipelines" / "bad.py").write_text("import nothing_of_that_name\n")
    (fpbus.folder / "conf" / "pipelines" / "bad.yml").write_text("{}\n")

    done = fpbus("pipeline", *arguments)

    assert (done.code, done.out) == (code, "")
    assert words in done.told
