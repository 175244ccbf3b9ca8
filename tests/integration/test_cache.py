"""The cache: what it gives back, what it refuses to read, and what it survives."""

import json
import logging
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from fpbus.pipelines import NodeReport, PipelineFailedError, Project
from fpbus.pipelines.cache import UnknownNodeError, clear_cache
from fpbus.pipelines.cache.formats import UnreadableError, pack, unpack, version_of
from fpbus.pipelines.cache.making import cache_url
from fpbus.schemas import FpbusError, ProjectConfig, is_pipeline_name

_COUNTED = """
calls = []

def raw(number: int) -> int:
    calls.append("raw")
    return number + 1

def table(raw: int) -> list[int]:
    calls.append("table")
    return [raw] * 3

def total(table: list[int]) -> int:
    calls.append("total")
    return sum(table)
"""


def _project(folder: Path, source: str, run: str = "{cache: true}", conf: str = "", name: str = "cached") -> Project:
    (folder / "pipelines").mkdir(parents=True)
    (folder / "conf" / "pipelines").mkdir(parents=True)
    (folder / "conf" / "project.yml").write_text(f"name: caching\n{conf}")
    (folder / "pipelines" / f"{name}.py").write_text(source)
    (folder / "conf" / "pipelines" / f"{name}.yml").write_text(f"run: {run}\n")
    return Project.load(folder)


def _calls() -> list[str]:
    """Return what was called since the last time."""
    calls: list[str] = sys.modules["pipelines.cached"].calls
    taken = calls.copy()
    calls.clear()
    return taken


def _files(project: Project, kind: str = "values") -> list[Path]:
    return sorted((project.folder / ".fpbus" / "storage" / ".cache" / "cached" / kind).iterdir())


def test_a_second_run_computes_nothing_and_says_so(tmp_path: Path) -> None:
    project = _project(tmp_path, _COUNTED)
    first = project.run("cached", {"number": 1})
    assert _calls() == ["raw", "table", "total"]
    reports: list[NodeReport] = []

    second = project.run("cached", {"number": 1}, report=reports.append)

    assert second == first == {"total": 6}
    assert _calls() == []
    assert {report.node: report.cached for report in reports if report.duration_s is not None} == {
        "raw": True,
        "table": True,
        "total": True,
    }


def test_another_process_finds_what_this_one_has_kept(tmp_path: Path) -> None:
    project = _project(tmp_path, _COUNTED)
    project.run("cached", {"number": 1})
    script = (
        "import json, sys; from fpbus.pipelines import Project; reports = []; "
        "out = Project.load(sys.argv[1]).run('cached', {'number': 1}, report=reports.append); "
        "print(json.dumps([out, [r.node for r in reports if r.cached]]))"
    )

    printed = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, check=True, text=True)

    assert json.loads(printed.stdout) == [{"total": 6}, ["raw", "table", "total"]]


def test_other_inputs_and_other_code_are_computed(tmp_path: Path) -> None:
    project = _project(tmp_path, _COUNTED)
    project.run("cached", {"number": 1})
    _calls()

    assert project.run("cached", {"number": 2}) == {"total": 9}
    assert _calls() == ["raw", "table", "total"]
    (tmp_path / "pipelines" / "cached.py").write_text(_COUNTED.replace("* 3", "* 4  # changed"))
    del sys.modules["pipelines.cached"]

    assert Project.load(tmp_path).run("cached", {"number": 1}) == {"total": 8}
    assert _calls() == ["table", "total"]


@pytest.mark.parametrize(
    ("cache", "called"),
    [
        ({"recompute": ["raw"], "disable": False}, ["raw"]),
        ({"disable": ["table"]}, ["table", "total"]),
        ({"ignore": ["raw"]}, ["raw", "table"]),  # `table` has another key then, but the same value
        ({"recompute": True}, ["raw", "table", "total"]),
        ({"default_behavior": "disable", "default": ["total"]}, ["raw", "table", "total"]),
        (False, ["raw", "table", "total"]),
        (True, []),
    ],
)
def test_settings_do_what_hamilton_says(tmp_path: Path, cache: Any, called: list[str]) -> None:
    project = _project(tmp_path, _COUNTED)
    project.run("cached", {"number": 1})
    _calls()

    assert project.run("cached", {"number": 1}, cache=cache) == {"total": 6}

    assert _calls() == called


@pytest.mark.parametrize(
    ("cache", "message", "hint"),
    [
        ({"recompute": ["tabel"]}, "run.cache.recompute names 'tabel', which is no node.", "Did you mean 'table'?"),
        ({"recompute": ["raw"], "ignore": ["raw"]}, "run.cache says both recompute and ignore for 'raw'.", "Choose"),
        ({"recompute": True, "disable": True}, "run.cache says both recompute and disable for all nodes.", "Choose"),
    ],
)
def test_settings_that_fit_no_node_are_refused(tmp_path: Path, cache: Any, message: str, hint: str) -> None:
    project = _project(tmp_path, _COUNTED)

    with pytest.raises(UnknownNodeError) as error:
        project.run("cached", {"number": 1}, cache=cache)

    assert isinstance(error.value, FpbusError)
    assert str(error.value) == message
    assert (error.value.hint or "").startswith(hint)


_FRAME = pd.DataFrame(
    {
        "n": [1, 2],
        "x": [0.5, float("nan")],
        "s": ["a", None],
        "t": pd.to_datetime(["2024-01-01", "2024-01-02"], utc=True),
    }
)
_EXACT: list[Any] = [
    None,
    True,
    12345678901234567890123,
    -0.0,
    0.1,
    "text \ud800",
    b"\x00raw",
    [1, [2.5, "x"], {"a": None}],
    {},
    np.arange(6).reshape(2, 3),
    np.array(["2024-01-01"], dtype="datetime64[s]"),
    np.float64("nan"),
    np.int8(3),
    _FRAME,
    _FRAME.set_index(["n", "t"]),
    _FRAME.set_index(pd.Index([7, 3], name="k")),
    _FRAME["x"],
    pd.Series([1, 2], name=None, dtype="category").astype(str).astype("category"),
    pa.table({"a": [1, None]}),
]


@pytest.mark.parametrize("value", _EXACT, ids=lambda value: type(value).__name__)
def test_what_is_kept_comes_back_as_it_was(value: Any) -> None:
    packed = pack(value, allow_pickle=False)
    assert packed is not None

    back = unpack(packed, version_of(packed), allow_pickle=False)

    assert type(back) is type(value)
    assert pickle.dumps(back) == pickle.dumps(value) or _same(back, value)
    assert pack(back, allow_pickle=False) == packed


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, pd.DataFrame):
        return left.equals(right) and left.index.equals(right.index) and list(left.dtypes) == list(right.dtypes)
    if isinstance(left, pd.Series):
        return left.equals(right) and left.name == right.name
    return bool(np.array_equal(left, right, equal_nan=True)) if isinstance(left, np.generic) else bool(left == right)


class _Text(str):
    __slots__ = ()


_INEXACT: list[Any] = [
    float("nan"),
    float("inf"),
    (1, 2),
    {1: "a"},
    {"deep": [(1,)]},
    {1, 2},
    _Text("x"),
    [float("-inf")],
    np.array([object()]),
    np.ma.masked_array([1, 2], [True, False]),
    pd.DataFrame({"o": [[1], {"a": 2}]}),
    pd.DataFrame({"o": pd.Series([1, "a"], dtype=object)}),
    pd.DataFrame({"n": [1, 2]}, index=pd.date_range("2024-01-01", periods=2, freq="D")),
    pd.DataFrame([[1, 2]], columns=["a", "a"]),
    pd.DataFrame({1: [1]}),
    pd.Series([1], name=3),
    lambda: None,
]


@pytest.mark.parametrize("value", _INEXACT, ids=lambda value: type(value).__name__)
def test_what_would_come_back_otherwise_is_not_kept(value: Any) -> None:
    packed = pack(value, allow_pickle=False)

    assert packed is None or _same(unpack(packed, version_of(packed), allow_pickle=False), value)


@pytest.mark.parametrize("value", [float("nan"), (1, 2), {1: "a"}, np.ma.masked_array([1], [True])], ids=repr)
def test_no_safe_form_means_no_form(value: Any) -> None:
    assert pack(value, allow_pickle=False) is None


def test_what_cannot_be_kept_is_computed_each_time_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = """
calls = []
def pair(number: int) -> tuple[int, int]:
    calls.append("pair")
    return number, number
def total(pair: tuple[int, int]) -> int:
    calls.append("total")
    return sum(pair)
"""
    project = _project(tmp_path, source)

    with caplog.at_level(logging.INFO, "fpbus.pipelines.cache"):
        outputs = [project.run("cached", {"number": 2}) for _ in range(3)]

    assert outputs == [{"total": 4}] * 3
    assert _calls() == ["pair", "total", "pair", "pair"]  # `total` depends on what `pair` returned, not on luck
    assert [record.message for record in caplog.records] == [
        "values of type tuple cannot be cached safely, and are computed each time"
    ]


def test_equal_hashes_of_hamilton_are_not_equal_here(tmp_path: Path) -> None:
    source = """
import pandas as pd
calls = []
def number() -> int:
    return 1
def text() -> str:
    return "1"
def truth() -> bool:
    return True
def first() -> pd.DataFrame:
    return pd.DataFrame({"a": [1]})
def second() -> pd.DataFrame:
    return pd.DataFrame({"b": [1]})
"""
    project = _project(tmp_path, source)

    fresh, kept = project.run("cached"), project.run("cached")

    for outputs in (fresh, kept):
        assert [type(outputs[name]) for name in ("number", "text", "truth")] == [int, str, bool]
        assert (list(outputs["first"]), list(outputs["second"])) == (["a"], ["b"])


def _evil(victim: Path) -> bytes:
    class Evil:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
            return open, (str(victim), "w")

    return pickle.dumps(Evil())


def test_a_pickle_in_place_of_a_value_is_never_read(tmp_path: Path) -> None:
    project = _project(tmp_path, _COUNTED)
    project.run("cached", {"number": 1})
    _calls()
    victim, evil = tmp_path / "victim", _evil(tmp_path / "victim")
    contents = [evil, b'{"form":"pickle"}\n' + evil, b'{"form":"npy"}\n' + evil, b'{"form":"dataframe"}\n' + evil]

    for content in contents:
        for file in [*_files(project), *_files(project, "versions")]:
            file.write_bytes(content)
        assert project.run("cached", {"number": 1}) == {"total": 6}
        assert _calls() == ["raw", "table", "total"]

    assert not victim.exists()


def test_a_pickle_with_its_right_checksum_is_not_read_either(tmp_path: Path) -> None:
    file = b'{"form":"pickle"}\n' + _evil(tmp_path / "victim")

    with pytest.raises(UnreadableError, match="allow_pickle is false"):
        unpack(file, version_of(file), allow_pickle=False)
    numpys = b'{"form":"npy"}\n' + _evil(tmp_path / "victim")
    with pytest.raises(UnreadableError, match="cannot be read"):
        unpack(numpys, version_of(numpys), allow_pickle=False)

    assert not (tmp_path / "victim").exists()


def test_pickles_are_kept_where_the_project_allows_it(tmp_path: Path) -> None:
    source = "calls = []\ndef pair() -> tuple[int, int]:\n    calls.append('pair')\n    return 1, 2\n"
    project = _project(tmp_path, source, conf="cache:\n  allow_pickle: true\n")

    assert [project.run("cached") for _ in range(2)] == [{"pair": (1, 2)}] * 2
    assert _calls() == ["pair"]


@pytest.mark.parametrize("kind", ["values", "versions"])
@pytest.mark.parametrize("damage", ["truncated", "empty", "gone", "a folder"])
def test_damaged_files_are_computed_again(tmp_path: Path, kind: str, damage: str) -> None:
    project = _project(tmp_path, _COUNTED)
    project.run("cached", {"number": 1})
    _calls()
    for file in _files(project, kind):
        content = file.read_bytes()
        file.unlink()
        if damage == "a folder":
            file.mkdir()
        elif damage != "gone":
            file.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"")

    outputs = [project.run("cached", {"number": 1}) for _ in range(2)]

    assert outputs == [{"total": 6}] * 2
    assert _calls()[:3] == ["raw", "table", "total"]


def test_a_storage_that_cannot_be_used_fails_no_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    project = _project(tmp_path / "project", _COUNTED, conf=f"cache:\n  url: file://{tmp_path}/file/cache\n")

    outputs = [project.run("cached", {"number": 1}) for _ in range(2)]

    assert outputs == [{"total": 6}] * 2
    assert _calls() == ["raw", "table", "total"] * 2
    assert sum("so nodes are computed" in record.message for record in caplog.records) == 1


def test_the_cache_lies_on_any_filesystem(tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}/cache"
    project = _project(tmp_path, _COUNTED, conf=f"cache:\n  url: {url}\n")

    assert [project.run("cached", {"number": 1}) for _ in range(2)] == [{"total": 6}] * 2

    assert _calls() == ["raw", "table", "total"]
    assert len(fsspec.filesystem("memory").find(f"{url}/cached")) == 6
    assert not (tmp_path / ".fpbus").exists()


def test_clearing_forgets_all(tmp_path: Path) -> None:
    project = _project(tmp_path, _COUNTED)
    project.run("cached", {"number": 1})
    _calls()

    clear_cache(project.folder, "cached", project.config)
    clear_cache(project.folder, "cached", project.config)
    project.run("cached", {"number": 1})

    assert _calls() == ["raw", "table", "total"]


_OFTEN = """
import json, sys
from fpbus.pipelines import Project

project, number = Project.load(sys.argv[1]), int(sys.argv[2])
print(json.dumps([project.run("cached", {"number": each % 3}) for each in range(number, number + 20)]))
"""


def test_several_processes_may_use_one_cache(tmp_path: Path) -> None:
    _project(tmp_path, _COUNTED)

    commands = [[sys.executable, "-c", _OFTEN, str(tmp_path), str(number)] for number in range(3)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    all_outputs = [json.loads(process.communicate(timeout=120)[0].splitlines()[-1]) for process in processes]

    for first, outputs in enumerate(all_outputs):
        assert outputs == [{"total": 3 * (number % 3 + 1)} for number in range(first, first + 20)]
    parts = list((tmp_path / ".fpbus" / "storage" / ".cache").rglob("*.part"))
    assert parts == []


def test_a_failed_node_is_not_kept(tmp_path: Path) -> None:
    source = """
calls = []
def fragile(number: int) -> int:
    calls.append("fragile")
    if len(calls) == 1:
        raise OSError("not yet")
    return number
"""
    project = _project(tmp_path, source)

    with pytest.raises(PipelineFailedError, match="not yet"):
        project.run("cached", {"number": 1})

    assert project.run("cached", {"number": 1}) == {"fragile": 1}


def test_collected_items_are_kept_in_their_order(tmp_path: Path) -> None:
    source = """
from hamilton.htypes import Collect, Parallelizable
def item(items: list[int]) -> Parallelizable[int]:
    yield from items
def same(item: int) -> int:
    return item
def together(same: Collect[int]) -> list[int]:
    return list(same)
"""
    project = _project(tmp_path, source)

    assert project.run("cached", {"items": [1, 2]}) == {"together": [1, 2]}
    assert project.run("cached", {"items": [2, 1]}) == {"together": [2, 1]}
    assert project.run("cached", {"items": [1, 2]}) == {"together": [1, 2]}


def test_an_async_pipeline_runs_without_its_cache(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    project = _project(tmp_path, "async def value() -> int:\n    return 1\n")

    assert project.run("cached") == {"value": 1}
    assert "its nodes are not cached" in caplog.text


def test_no_pipeline_has_its_outputs_where_a_cache_lies(tmp_path: Path) -> None:
    url = cache_url(tmp_path, "boiler", ProjectConfig(name="shop", storage_url="s3://bucket/storage/"))

    assert url == "s3://bucket/storage/.cache/boiler"
    assert not is_pipeline_name(".cache")
