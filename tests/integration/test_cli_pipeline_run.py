"""`fpbus pipeline run`: what goes in, what comes out, and where."""

import json
from pathlib import Path

import pytest
import yaml

from support.commands import Commands

ARITHMETIC = """
import logging
import os
import sys

log = logging.getLogger(__name__)


def doubled(x: float, factor: float) -> float:
    return x * factor


def told(x: float) -> str:
    print("printed")
    sys.stdout.flush()
    os.system("echo from a child")
    log.debug("a debug line")
    log.info("an info line")
    log.error("an error line")
    return "done"


def nested(options: dict, names: list) -> str:
    return f"{options} {names}"


def left(code: int) -> int:
    sys.exit(code)


def broken(x: float) -> float:
    return _deeper(x)


def _deeper(x: float) -> float:
    raise ValueError(f"{x} is too much")
"""

TABLES = '''
import numpy as np
import pandas as pd


class Model:
    """Has no JSON form."""


def frame(rows: int) -> pd.DataFrame:
    return pd.DataFrame({"n": range(rows), "third": [None if n == 0 else n / 3 for n in range(rows)]})


def by_name(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(name=[f"n{n}" for n in frame["n"]]).set_index("name")


def column(frame: pd.DataFrame) -> pd.Series:
    return frame["n"]


def array(rows: int) -> np.ndarray:
    return np.arange(rows) / 2


def model(rows: int) -> Model:
    return Model()


def binary(rows: int) -> bytes:
    return b"x" * rows


def long(rows: int) -> list:
    return list(range(rows))


def not_a_number(rows: int) -> float:
    return float("nan")
'''


@pytest.fixture
def fpbus(tmp_path: Path) -> Commands:
    fpbus = Commands(tmp_path)
    assert fpbus("init", "--name", "p").code == 0
    add(
        tmp_path / "p",
        "arithmetic",
        ARITHMETIC,
        "run:\n  inputs: {x: 2}\n  final_vars: [doubled]\nparams:\n  factor: 2\n",
    )
    add(tmp_path / "p", "tables", TABLES, "run:\n  inputs: {rows: 3}\n  final_vars: [frame]\n")
    return Commands(tmp_path / "p")


def add(project: Path, name: str, module: str, config: str) -> None:
    (project / "pipelines" / f"{name}.py").write_text(module)
    (project / "conf" / "pipelines" / f"{name}.yml").write_text(config)


def test_the_outputs_are_a_table_and_a_line_tells_what_was_run(fpbus: Commands) -> None:
    done = fpbus("pipeline", "run", "hello")

    assert (done.code, done.out) == (0, 'OUTPUT      VALUE\nfahrenheit  70.7\ncomfort     "comfortable"\n')
    assert done.told.startswith("hello succeeded: 2 nodes, ")


def test_quiet_tells_nothing(fpbus: Commands) -> None:
    assert fpbus("pipeline", "run", "hello", "--quiet").told == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("--inputs", '{"x": 5, "factor": 3}'),
        ("--inputs", "{'x': 5, 'factor': 3}"),
        ("--inputs", "x=5,factor=3"),
        ("--inputs", "@inputs.json"),
        ("--inputs", "-"),
        ("--input", "x=5", "--input", "factor=3"),
        ("--inputs", '{"x": 4, "factor": 3}', "--input", "x=5"),
    ],
)
def test_inputs_are_given_in_any_form_and_win_over_params(fpbus: Commands, arguments: tuple[str, ...]) -> None:
    document = '{"x": 5, "factor": 3}'
    (fpbus.folder / "inputs.json").write_text(document)

    done = fpbus("pipeline", "run", "arithmetic", *arguments, "--format", "json", stdin=document)

    assert json.loads(done.out) == {"doubled": 15}


@pytest.mark.parametrize("arguments", [("--final-vars", '["told"]'), ("--outputs", "told"), ("-o", "['told']")])
def test_the_outputs_wanted_are_named_in_any_form(fpbus: Commands, arguments: tuple[str, ...]) -> None:
    done = fpbus("pipeline", "run", "arithmetic", *arguments, "--format", "yaml", "--log-level", "critical")

    assert yaml.safe_load(done.out) == {"told": "done"}


def test_nested_inputs_reach_the_functions(fpbus: Commands) -> None:
    done = fpbus("pipeline", "run", "arithmetic", "-o", "nested", "--inputs", "options={'a': {'b': 1}},names=[1, 2]")

    assert (done.code, done.out) == (0, "OUTPUT  VALUE\nnested  \"{'a': {'b': 1}} [1, 2]\"\n")


def test_what_a_pipeline_prints_is_talk_when_the_output_is_a_document(fpbus: Commands) -> None:
    table = fpbus("pipeline", "run", "arithmetic", "-o", "told")
    document = fpbus("pipeline", "run", "arithmetic", "-o", "told", "--format", "json")

    assert table.out == 'printed\nfrom a child\nOUTPUT  VALUE\ntold    "done"\n'
    assert document.out == '{"told":"done"}\n'
    assert "printed\nfrom a child\n" in document.told


@pytest.mark.parametrize(
    ("level", "lines"), [("DEBUG", 3), ("debug", 3), ("INFO", 2), ("WARNING", 1), ("critical", 0), (None, 2)]
)
def test_a_log_level_is_for_the_run(fpbus: Commands, level: str | None, lines: int) -> None:
    chosen = ("--log-level", level) if level else ()

    done = fpbus("pipeline", "run", "arithmetic", "-o", "told", *chosen)

    assert sum(" line" in line for line in done.told.splitlines()) == lines


def test_a_table_among_the_outputs_is_shown_by_its_head_and_its_shape(fpbus: Commands) -> None:
    done = fpbus("pipeline", "run", "tables", "--input", "rows=12", "-o", "array,frame,column")

    assert done.out.startswith("OUTPUT  VALUE\narray   [0.0,0.5,1.0,")
    assert "\n\nframe: DataFrame 12 x 2\n   n     third\n0  0       NaN\n1  1  0.333333\n" in done.out
    assert "\n\ncolumn: Series 12\n" in done.out
    assert done.out.count("... 2 more rows\n") == 2


def test_tables_are_records_in_a_document_and_what_is_missing_is_null(fpbus: Commands) -> None:
    done = fpbus("pipeline", "run", "tables", "-o", "frame,by_name,column,array", "--format", "json")

    outputs = json.loads(done.out)
    assert outputs["frame"] == [{"n": 0, "third": None}, {"n": 1, "third": 1 / 3}, {"n": 2, "third": 2 / 3}]
    assert outputs["by_name"][1] == {"name": "n1", "n": 1, "third": 1 / 3}
    assert outputs["column"] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert outputs["array"] == [0, 0.5, 1]


def test_what_json_cannot_hold_is_summed_up_and_told(fpbus: Commands) -> None:
    done = fpbus("pipeline", "run", "tables", "-o", "model,binary,not_a_number", "--format", "json")

    outputs = json.loads(done.out)
    assert (done.code, outputs["not_a_number"]) == (0, "NaN")
    assert outputs["model"] == {"summary": "Model", "left_out_because": "it is not JSON: a Model has no JSON form"}
    assert outputs["binary"]["summary"] == "bytes of 3"
    assert "The output 'model' is not JSON" in done.told


def test_a_long_value_is_whole_in_a_document_and_cut_in_a_table(fpbus: Commands) -> None:
    arguments = ("pipeline", "run", "tables", "-o", "long", "--input", "rows=100000")

    document, table = fpbus(*arguments, "--format", "json"), fpbus(*arguments)

    assert len(json.loads(document.out)["long"]) == 100_000
    assert table.out.rstrip().endswith("... (list of 100000; --format json shows all of it)")
    assert len(table.out) < 1200


def test_too_large_a_table_is_summed_up(fpbus: Commands) -> None:
    done = fpbus("pipeline", "run", "tables", "--input", "rows=600000", "--format", "json")

    assert json.loads(done.out)["frame"]["summary"] == "DataFrame 600000 x 2"
    assert "has 1200000 cells" in done.told


def test_a_failure_names_the_node_and_shows_the_users_own_lines(fpbus: Commands) -> None:
    done = fpbus("pipeline", "run", "arithmetic", "-o", "broken", "--input", "x=9")

    assert (done.code, done.out) == (1, "")
    frames = [line for line in done.told.splitlines() if line.startswith('  File "')]
    assert [line.rpartition(" ")[2] for line in frames] == ["broken", "_deeper"]
    assert all("/p/pipelines/arithmetic.py" in line for line in frames)
    assert "\nError: ValueError: 9 is too much (node broken)\n" in done.told.replace("9.0", "9")


def test_retries_are_told(fpbus: Commands) -> None:
    retries = ("--max-retries", "2", "--retry-delay", "0.01", "--jitter-factor", "0")

    done = fpbus("pipeline", "run", "arithmetic", "-o", "broken", *retries)

    assert done.code == 1
    for attempt in (1, 2):
        assert f"attempt {attempt} failed: ValueError: 2 is too much (node broken); trying again in 0.01 s" in (
            done.told.replace("2.0", "2")
        )
    assert "attempt 3 failed" not in done.told
    assert "arithmetic failed: 0 nodes, 3 attempts, " in done.told


def test_a_missing_input_is_told_with_the_way_to_give_it(fpbus: Commands) -> None:
    done = fpbus("pipeline", "run", "arithmetic", "-o", "left")

    assert done.code == 1
    assert "Error: The input 'code' is missing; 'left' needs it.\n" in done.told
    assert "Give it: --input code=VALUE" in done.told
    assert "Traceback" not in done.told


@pytest.mark.parametrize("code", [0, 3])
def test_a_pipeline_that_exits_has_failed(fpbus: Commands, code: int) -> None:
    done = fpbus("pipeline", "run", "arithmetic", "-o", "left", "--input", f"code={code}")

    assert (done.code, done.told) == (1, f"Error: the pipeline 'arithmetic' called sys.exit({code}).\n")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("helo",), 4, "No pipeline named 'helo' in this project.\nDid you mean 'hello'?"),
        (("hello", "-o", "comfrt"), 1, "There is no node 'comfrt'. Did you mean 'comfort'?"),
        (("hello", "--inputs", "{"), 2, "--inputs: this is no JSON"),
        (("hello", "--inputs", "[1]"), 2, "--inputs: a JSON object is needed"),
        (("hello", "--config", "x"), 2, "--config: this is no JSON"),
        (("hello", "--final-vars", "[1]"), 2, "--final-vars: a list of names is needed"),
        (("hello", "--cache", "perhaps"), 2, "--cache: this is no JSON"),
        (("hello", "--cache", '{"recompte": []}'), 2, "there is no key 'recompte' in it. Did you mean 'recompute'?"),
        (
            ("hello", "--executor", "thredpool"),
            2,
            "--executor: there is no type 'thredpool'. Did you mean 'threadpool'?",
        ),
        (("hello", "--executor", '{"type": "local", "max_workers": 0}'), 2, "--executor: `max_workers`: expected"),
        (("hello", "--with-adapter", '{"mlflow": 3}'), 2, "--with-adapter: `[...]`: expected `bool`"),
        (("hello", "--max-retries", "-1"), 2, "--max-retries"),
        (("hello", "--jitter-factor", "2"), 2, "--jitter-factor"),
        (("hello", "--log-level", "LOUD"), 2, "--log-level"),
        (("hello", "--storage-options", "{"), 2, "--storage-options: this is no JSON"),
        (("hello", "--base-dir", "nowhere"), 8, "There is no folder "),
    ],
)
def test_what_cannot_be_used_is_told(fpbus: Commands, arguments: tuple[str, ...], code: int, words: str) -> None:
    done = fpbus("pipeline", "run", *arguments)

    assert (done.code, done.out) == (code, "")
    assert words in " ".join(done.told.split()) or words in done.told
    assert "Traceback" not in done.told


def test_a_project_elsewhere_is_named_by_its_folder(fpbus: Commands, tmp_path: Path) -> None:
    elsewhere = Commands(tmp_path)

    named = elsewhere("pipeline", "run", "hello", "--base-dir", "p", "--format", "json")
    by_setting = elsewhere("pipeline", "run", "hello", "--format", "json", environment={"FPBUS_PROJECT": "p"})

    assert named.out == by_setting.out == '{"fahrenheit":70.7,"comfort":"comfortable"}\n'
    assert fpbus.folder == tmp_path / "p"


def test_a_module_that_cannot_be_imported_is_told_without_a_traceback_unless_asked_for(fpbus: Commands) -> None:
    add(fpbus.folder, "bad", "import nothing_of_that_name\n", "{}\n")

    done, asked = fpbus("pipeline", "run", "bad"), fpbus("pipeline", "run", "bad", "--log-level", "DEBUG")

    assert (done.code, asked.code) == (8, 8)
    assert "No module named 'nothing_of_that_name'" in done.told
    assert "Traceback" not in done.told
    assert asked.told.startswith("Traceback")
