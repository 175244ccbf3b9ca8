"""Files that are hostile, or that YAML 1.1 and 1.2 read differently; and the mistakes that people make in YAML."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fpbus.project import (
    Fault,
    FaultError,
    ProjectError,
    UnknownPipelineError,
    find_faults,
    find_project,
    load_pipeline,
    load_pipelines,
)
from fpbus.project.yaml_reader import read_yaml


def read(tmp_path: Path, text: str | bytes) -> Any:
    path = tmp_path / "some.yml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_yaml(path).value


def fault_of(tmp_path: Path, text: str | bytes) -> Fault:
    with pytest.raises(FaultError) as caught:
        read(tmp_path, text)
    return caught.value.fault


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_depth_that_would_end_the_process_is_refused(tmp_path: Path, opening: str) -> None:
    fault = fault_of(tmp_path, opening * 250_000)
    assert (fault.line, fault.message) == (1, "it is nested more than 64 deep.")


def test_as_deep_as_allowed_is_read(tmp_path: Path) -> None:
    value = read(tmp_path, "a: " + "[" * 63 + "]" * 63)
    assert repr(value["a"]) == "[" * 63 + "]" * 63


def test_merges_that_multiply_are_refused(tmp_path: Path) -> None:
    levels = (f"a{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 9)}]}}\n" for level in range(1, 12))
    assert "more than 100000 values" in fault_of(tmp_path, "a0: &a0 {x: 1}\n" + "".join(levels)).message


def test_a_mapping_that_merges_itself_is_refused(tmp_path: Path) -> None:
    assert fault_of(tmp_path, "a: &a {<<: *a}\n").message == "it is nested more than 64 deep."


def test_a_merge_brings_what_was_merged_before_and_the_first_wins(tmp_path: Path) -> None:
    value = read(tmp_path, "a: &a {x: 1, y: 1}\nb: &b {<<: *a, y: 2}\nc: {<<: [*b, {y: 3, z: 3}], w: 4}\n")
    assert value["c"] == {"x": 1, "y": 2, "z": 3, "w": 4}
    assert "<<" not in value["c"]


@pytest.mark.parametrize(
    "text",
    [
        "a: !!binary aGk=",
        "a: !!set {x}",
        "a: !!int '5'",
        "a: !!float 5",
        "a: !!omap []",
        "a: !x []",
        "a: !!timestamp 1",
    ],
)
def test_tags_that_would_change_a_value_are_refused_and_not_ignored(tmp_path: Path, text: str) -> None:
    assert fault_of(tmp_path, text).hint == "The only tag is !!str."


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("!!str 12", "12"),
        ("0x1F", 31),
        ("0x1_0", "0x1_0"),
        ("0b11", "0b11"),
        ("-0o17", "-0o17"),
        ("1.10", 1.1),
        ("'012'", "012"),
        ("0", 0),
        ("0.5", 0.5),
        ("08:30", "08:30"),
        ("=", "="),
        ("2024-01-15T10:00:00Z", "2024-01-15T10:00:00Z"),
        ("True", True),
        ("tRUE", "tRUE"),
        ("~", None),
        ("|\n  1\n", "1\n"),
    ],
)
def test_a_value_is_what_yaml_1_2_says(tmp_path: Path, text: str, value: object) -> None:
    found = read(tmp_path, f"a: {text}\n")["a"]
    assert (found, type(found)) == (value, type(value))


def test_keys_are_text_whatever_they_look_like(tmp_path: Path) -> None:
    assert read(tmp_path, "{1: a, on: b, ~: c, 1.5: d}") == {"1": "a", "on": "b", "~": "c", "1.5": "d"}


def test_a_secret_with_a_leading_zero_is_not_shown(tmp_path: Path) -> None:
    fault = fault_of(tmp_path, "backend:\n  password: 0123456\n")
    assert (fault.line, fault.key) == (2, "backend.password")
    assert "123456" not in str(fault)
    assert fault.hint == "In quotes it is text; a number has no 0 in front."


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (b"a: \xe9\n", "incomplete UTF-8", "Save it as UTF-8 text."),
        (b"a: \x00\n", "control characters", "Save it as UTF-8 text."),
        ("\ta: 1\n", "this is no YAML", "Indent with blanks: YAML takes no tabs."),
        ("a: b: c\n", "mapping values", "A text with ': ' in it needs quotes."),
        ("a: {b: ${C}}\n", "this is no YAML", "Inside { } and [ ] a ${NAME} needs quotes"),
        ("a: *b\n", "found undefined alias", None),
    ],
)
def test_usual_mistakes_have_a_hint(tmp_path: Path, text: str | bytes, message: str, hint: str | None) -> None:
    fault = fault_of(tmp_path, text)
    assert message in fault.message
    assert (fault.hint or "").startswith(hint or "")
    assert (fault.hint is None) == (hint is None)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yml")
    (tmp_path / "folder.yml").mkdir()
    for name in ("pipe.yml", "folder.yml"):
        with pytest.raises(FaultError, match=f"{name}: it is no file"):
            read_yaml(tmp_path / name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "conf/pipelines").mkdir(parents=True)
    (tmp_path / "conf/project.yml").write_text("name: shop\n")
    return tmp_path


def raised_by(folder: Path) -> str | None:
    try:
        load_pipelines(folder)
    except ProjectError as error:
        return str(error)
    return None


def test_a_pipelines_file_with_the_other_ending_is_told(folder: Path) -> None:
    (folder / "conf/pipelines/orders.yaml").write_text("run: {}\n")
    with pytest.raises(UnknownPipelineError) as caught:
        load_pipeline(folder, "orders")
    assert caught.value.hint == "conf/pipelines/orders.yaml is not read: rename it to orders.yml."
    assert [fault.hint for fault in find_faults(folder)] == ["Rename it to orders.yml."]


def test_a_projects_file_with_the_other_ending_is_told(folder: Path) -> None:
    (folder / "conf/project.yml").rename(folder / "conf/project.yaml")
    with pytest.raises(ProjectError) as caught:
        find_project(folder)
    assert caught.value.hint == "There is conf/project.yaml, which is not read: rename it to project.yml."
    with pytest.raises(ProjectError) as caught:
        load_pipelines(folder)
    assert caught.value.hint == "There is project.yaml, which is not read: rename it to project.yml."


_WORDS = [
    *("run", "schedule", "adapter", "hooks", "params", "custom", "retry", "with_adapter", "executor", "tracker"),
    *("max_retries", "cron", "timezone", "cache", "<<", "*a", "&a", "!!str", "null", "true", "012", "1e3", "''", "x"),
    *(": ", ":\n  ", "\n", "\n  ", "- ", "[", "]", "{", "}", ", ", "${X}", "${", "#", "|", ">", "\t", "\x00", "ä"),
]


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(_WORDS), max_size=25).map("".join))
def test_whatever_stands_in_a_file_it_loads_or_has_faults(folder: Path, text: str) -> None:
    (folder / "conf/pipelines/orders.yml").write_text(text)
    faults = [str(fault) for fault in find_faults(folder)]
    raised = raised_by(folder)
    assert (raised in faults) if faults else (raised is None)
