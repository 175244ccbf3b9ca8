"""Hamilton's own breadth: a pipeline gives what Hamilton's driver gives when it is called directly."""

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hamilton import driver
from hamilton.execution.executors import SynchronousLocalTaskExecutor

from fpbus.pipelines import NodeReport, PipelineFailedError, PipelineNotLoadableError, Project

_CONFIG_WHEN = """
from hamilton.function_modifiers import config, tag

@config.when(kind="small")
def size__small() -> int:
    return 1

@config.when_not(kind="small")
def size__large() -> int:
    return 100

@tag(owner="us", secret="no")
def doubled(size: int) -> int:
    return size * 2
"""

_PARAMETERIZED = """
from hamilton.function_modifiers import extract_fields, inject, parameterize, resolve, source, value, group

@parameterize(
    by_two={"factor": value(2)},
    by_number={"factor": source("number")},
)
def scaled(factor: int, number: int) -> int:
    return factor * number

@inject(parts=group(source("by_two"), source("by_number")))
def summed(parts: list[int]) -> int:
    return sum(parts)

@extract_fields({"low": int, "high": int})
def bounds(summed: int) -> dict:
    return {"low": summed - 1, "high": summed + 1}
"""

_COLUMNS = """
import pandas as pd
from hamilton.function_modifiers import check_output, extract_columns

@extract_columns("price", "count")
def table(number: int) -> pd.DataFrame:
    return pd.DataFrame({"price": [1.0, 2.5], "count": [number, number + 1]})

@check_output(range=(0.0, 1000.0), data_type=float, importance="fail")
def cost(price: pd.Series, count: pd.Series) -> pd.Series:
    return price * count

def total(cost: pd.Series) -> float:
    return float(cost.sum())
"""

_SUBDAG = """
from hamilton.function_modifiers import source, subdag, value

class Growing:
    def base(start: int) -> int:
        return start + 1

    def grown(base: int, factor: int) -> int:
        return base * factor

@subdag(Growing.base, Growing.grown, inputs={"start": source("number"), "factor": value(3)})
def first(grown: int) -> int:
    return grown

@subdag(Growing.base, Growing.grown, inputs={"start": value(10), "factor": source("number")})
def second(grown: int) -> int:
    return grown

def both(first: int, second: int) -> tuple[int, int]:
    return first, second
"""

_PARALLEL = """
from hamilton.htypes import Collect, Parallelizable

def item(number: int) -> Parallelizable[int]:
    yield from range(number)

def squared(item: int) -> int:
    return item * item

def total(squared: Collect[int]) -> int:
    return sum(squared)

def after(total: int) -> int:
    return total + 1
"""

_OTHERS = """
from typing import Optional
import hamilton.function_modifiers as fm

def _plus(value: int, by: int) -> int:
    return value + by

@fm.pipe_input(fm.step(_plus, by=2).named("plus"))
def piped(number: int) -> int:
    return number * 10

def _sum(**parts: int) -> int:
    return sum(parts.values())

@fm.does(_sum)
def added(number: int, piped: int) -> int: ...

def with_default(number: int, extra: Optional[int] = None, times: int = 2) -> int:
    return (extra or number) * times

def _hidden() -> int:
    return 0
"""

_MODULES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "config_small": (_CONFIG_WHEN, {}, {"kind": "small"}),
    "config_large": (_CONFIG_WHEN, {}, {"kind": "other"}),
    "parameterized": (_PARAMETERIZED, {"number": 5}, {}),
    "columns": (_COLUMNS, {"number": 3}, {}),
    "subdags": (_SUBDAG, {"number": 4}, {}),
    "parallel": (_PARALLEL, {"number": 6}, {}),
    "others": (_OTHERS, {"number": 7}, {}),
}


def _project(folder: Path, name: str, source: str, more: str = "") -> Project:
    (folder / "pipelines").mkdir(parents=True)
    (folder / "conf" / "pipelines").mkdir(parents=True)
    (folder / "conf" / "project.yml").write_text("name: breadth\n")
    (folder / "pipelines" / f"{name}.py").write_text(source)
    (folder / "conf" / "pipelines" / f"{name}.yml").write_text(f"run: {{}}\n{more}")
    return Project.load(folder)


def _directly(name: str, config: dict[str, Any], inputs: dict[str, Any], wanted: list[str]) -> dict[str, Any]:
    """Run what the project has imported with Hamilton alone."""
    builder = driver.Builder().with_modules(sys.modules[f"pipelines.{name}"]).with_config(config)
    if name == "parallel":
        builder = builder.enable_dynamic_execution(allow_experimental_mode=True)
        builder = builder.with_remote_executor(SynchronousLocalTaskExecutor())
    outputs: dict[str, Any] = builder.build().execute([*wanted], inputs=inputs)
    return outputs


@pytest.mark.parametrize("executor", ["local", "threadpool"])
@pytest.mark.parametrize("name", _MODULES)
def test_the_outputs_are_those_of_hamilton_itself(tmp_path: Path, name: str, executor: str) -> None:
    source, inputs, config = _MODULES[name]
    project = _project(tmp_path, name, source)
    nodes = project.graph(name).driver(project.graph(name).config.run.override(_settings(config))).dag.graph.nodes
    wanted = [node.name for node in nodes.values() if not node.user_defined]
    if name == "parallel":
        wanted = ["total", "after"]

    ours = project.run(name, inputs, wanted, config, executor=executor)

    theirs = _directly(name, config, inputs, wanted)
    assert list(ours) == list(theirs)
    for node, value in theirs.items():
        assert type(ours[node]) is type(value)
        assert ours[node].equals(value) if isinstance(value, pd.DataFrame | pd.Series) else ours[node] == value


def _settings(config: dict[str, Any]) -> Any:
    from fpbus.schemas import RunSettings

    return RunSettings(config=config)


def test_without_final_vars_the_last_nodes_are_the_outputs(tmp_path: Path) -> None:
    project = _project(tmp_path, "subdags", _SUBDAG)

    assert project.run("subdags", {"number": 4}) == {"both": (15, 44)}


def test_materializers_save_and_load_where_they_are_asked_for(tmp_path: Path) -> None:
    source = """
from hamilton.function_modifiers import dataloader, load_from, save_to, source
from hamilton.io import utils

@save_to.json(path=source("place"), output_name_="saved")
def report(number: int) -> dict:
    return {"number": number}

@load_from.json(path=source("place"))
def loaded(data: dict) -> dict:
    return data
"""
    project = _project(tmp_path, "saving", source)
    place = str(tmp_path / "report.json")

    saved = project.run("saving", {"number": 3, "place": place}, ["saved"])
    loaded = project.run("saving", {"place": place}, ["loaded"])

    assert saved["saved"]["file_metadata"]["path"] == place
    assert loaded == {"loaded": {"number": 3}}


def test_a_check_that_fails_names_its_node(tmp_path: Path) -> None:
    project = _project(tmp_path, "columns", _COLUMNS)

    with pytest.raises(PipelineFailedError) as failed:
        project.run("columns", {"number": -5}, ["total"])

    assert failed.value.node == "cost"


def test_a_thousand_nodes(tmp_path: Path) -> None:
    lines = [f"def n0_{place}(number: int) -> int:\n    return number + {place}\n" for place in range(50)]
    for layer in range(1, 20):
        for place in range(50):
            left, right = f"n{layer - 1}_{place}", f"n{layer - 1}_{(place * 7 + 1) % 50}"
            body = f"return ({left} * 3 + {right}) % 1000003"
            arguments = f"{left}: int, {right}: int" if left != right else f"{left}: int"
            lines.append(f"def n{layer}_{place}({arguments}) -> int:\n    {body}\n")
    project = _project(tmp_path, "thousand", "\n".join(lines))
    reports: list[NodeReport] = []

    outputs = project.run("thousand", {"number": 5}, report=reports.append)

    assert outputs == _directly("thousand", {}, {"number": 5}, list(outputs))
    assert len(outputs) == 50
    assert sum(report.duration_s is not None for report in reports) == 1000
    assert project.run("thousand", {"number": 5}, executor="threadpool") == outputs


def test_params_reach_the_functions_below_inputs(tmp_path: Path) -> None:
    source = "def value(rate: float, number: int) -> float:\n    return rate * number\n"
    project = _project(tmp_path, "params", source, "params:\n  rate: 0.5\n  number: 2\n")

    assert project.run("params") == {"value": 1.0}
    assert project.run("params", {"number": 10}) == {"value": 5.0}


_CIRCLE = """
def a(b: int) -> int:
    return b

def b(c: int) -> int:
    return c

def c(a: int) -> int:
    return a
"""

_TWICE = """
from hamilton.function_modifiers import parameterize, value

@parameterize(b={"x": value(1)})
def a(x: int) -> int:
    return x

def b() -> int:
    return 1
"""

_NO_TABLE = """
from hamilton.function_modifiers import extract_columns

@extract_columns("q")
def a(x: int) -> int:
    return x
"""


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "def train_model(rows: int):\n    return {}\n",
            "'train_model' does not say what it returns. Add a return hint, as `def train_model(...) -> dict:`.",
        ),
        (
            "def size(rows) -> int:\n    return 1\n",
            "the argument 'rows' of the function 'size' has no type. Add a hint, as `rows: int`.",
        ),
        (
            _CIRCLE,
            "its nodes need each other in a circle: a -> c -> b -> a.",
        ),
        ("def a(a: int) -> int:\n    return a\n", "its nodes need each other in a circle: a -> a."),
        (
            "def a() -> int:\n    return 1\ndef b(a: str) -> str:\n    return a\n",
            "the function 'b' wants 'a' to be str, but the function 'a' returns int.",
        ),
        (
            "def a(x: int) -> int:\n    return x\ndef b(x: str) -> str:\n    return x\n",
            "the input 'x' is to be str in 'b', but int in 'a'.",
        ),
        (
            _TWICE,
            "there are two nodes 'b'. Every node needs a name of its own.",
        ),
        (
            _NO_TABLE,
            "InvalidDecoratorException: Error a does not output a type we know about",
        ),
    ],
)
def test_what_is_no_dag_is_told_in_one_sentence(tmp_path: Path, source: str, message: str) -> None:
    project = _project(tmp_path, "broken", source)

    with pytest.raises(PipelineNotLoadableError) as error:
        project.run("broken")

    text = str(error.value)
    assert text.startswith(("The pipeline 'broken' is no DAG: ", str(tmp_path)))
    assert message in text
    assert "\n" not in text
    assert "<class" not in text
    assert error.value.exit_code == 8


_NEEDY = """
def left(number: int) -> int:
    return number

def right(number: int, text: str = "x") -> int:
    return number

def both(left: int, right: int) -> int:
    return left + right
"""


@pytest.mark.parametrize(
    ("inputs", "final_vars", "message"),
    [
        ({}, ["both"], "The input 'number' is missing; 'left' and 'right' need it."),
        ({}, ["left"], "The input 'number' is missing; 'left' needs it."),
        ({"number": "secret"}, ["both"], "The input 'number' is of type str; it must be int."),
        ({"number": 1}, ["bth"], "There is no node 'bth'. Did you mean 'both'?"),
    ],
)
@pytest.mark.parametrize("executor", ["local", "threadpool"])
def test_what_does_not_fit_is_named_without_its_value(
    tmp_path: Path, inputs: dict[str, Any], final_vars: list[str], message: str, executor: str
) -> None:
    project = _project(tmp_path, "needy", _NEEDY)

    with pytest.raises(PipelineFailedError) as failed:
        project.run("needy", inputs, final_vars, executor=executor)

    assert str(failed.value) == message
    assert failed.value.node is None
