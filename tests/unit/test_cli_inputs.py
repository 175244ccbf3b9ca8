"""What people type after an option, and what it means."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer

from fpbus.cli.inputs import (
    make_request,
    make_settings,
    read_inputs,
    read_kind,
    read_moment,
    read_names,
    read_switch,
)
from fpbus.schemas import RunSettings

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("x=1", 1),
        ("x=81.5", 81.5),
        ("x=true", True),
        ("x=null", None),
        ('x={"a": [1]}', {"a": [1]}),
        ('x="1"', "1"),
        ("x=north", "north"),
        ("x=a=b", "a=b"),
        ("x=007", "007"),
        ("x=", ""),
        ("x=True", True),
        ("x=None", "None"),
        ("x=['a', 1]", ["a", 1]),
        ("x=[north", "[north"),
        (" x =1", 1),
    ],
)
def test_an_input_is_json_or_else_a_string(typed: str, value: object) -> None:
    assert read_inputs([typed], None) == {"x": value}


def test_single_inputs_win_over_the_document() -> None:
    assert read_inputs(["a=3"], '{"a": 1, "b": 2}') == {"a": 3, "b": 2}


def test_no_inputs_are_none_and_an_empty_object_is_one() -> None:
    assert read_inputs([], None) is None
    assert read_inputs([], "{}") == {}


def test_a_document_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "inputs.json").write_text('{"a": "ü"}', encoding="utf-8")

    assert read_inputs([], f"@{tmp_path}/inputs.json") == {"a": "ü"}


def test_a_document_may_come_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('{"a": 1}'))

    assert read_inputs([], "-") == {"a": 1}


@pytest.mark.parametrize(
    ("pairs", "document", "words"),
    [
        (["novalue"], None, "'novalue' is not of the form name=value"),
        (["=1"], None, "'=1' is not of the form name=value"),
        ([], "{", "this is no JSON"),
        ([], "{'a': 1", "this is no JSON"),
        ([], "{'a': open('x')}", "this is no JSON"),
        ([], "{1, 2}", "this is a set"),
        ([], "a", "this is no JSON"),
        ([], "=1", "'=1' is not of the form name=value"),
        ([], "[1]", "this is a list"),
        ([], "3", "this is a number"),
        ([], "@/nowhere/inputs.json", "/nowhere/inputs.json cannot be read: No such file or directory"),
        ([], "[" * 100_000, "this is no JSON"),
    ],
)
def test_what_cannot_be_read_is_a_usage_error(pairs: list[str], document: str | None, words: str) -> None:
    with pytest.raises(typer.BadParameter, match=words):
        read_inputs(pairs, document)


@pytest.mark.parametrize(
    ("document", "inputs"),
    [
        ("{'a': 1, 'b': (2, None)}", {"a": 1, "b": (2, None)}),
        ("{1: 2}", {"1": 2}),
        ("a=1,b=north", {"a": 1, "b": "north"}),
        ("a=[1,2],b={'c': 3}", {"a": [1, 2], "b": {"c": 3}}),
        ("a=x,y", {"a": "x,y"}),
        ("a=x=y", {"a": "x=y"}),
        ("a=true, b=False", {"a": True, "b": False}),
    ],
)
def test_a_document_may_be_written_as_flowerpowers_users_do(document: str, inputs: dict[str, object]) -> None:
    assert read_inputs([], document) == inputs


@pytest.mark.parametrize("typed", ["a,b", " a , b ", '["a", "b"]', "['a', 'b']", "a,b,"])
def test_names_are_separated_by_commas_or_a_json_list(typed: str) -> None:
    assert read_names(typed, "--final-vars") == ["a", "b"]


@pytest.mark.parametrize("typed", ["[1]", "{}", '["a", null]', "[a"])
def test_what_is_no_list_of_names_is_a_usage_error(typed: str) -> None:
    with pytest.raises(typer.BadParameter):
        read_names(typed, "--final-vars")


@pytest.mark.parametrize(
    ("typed", "value"),
    [("true", True), (" False ", False), ('{"recompute": ["a"]}', {"recompute": ["a"]}), (None, None)],
)
def test_a_switch_is_true_or_false_or_an_object(typed: str | None, value: object) -> None:
    assert read_switch(typed, "--cache") == value


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("threadpool", {"type": "threadpool"}),
        ('{"type": "threadpool", "max_workers": 4}', {"type": "threadpool", "max_workers": 4}),
        ("type=ray,num_cpus=2", {"type": "ray", "num_cpus": 2}),
        (None, None),
    ],
)
def test_a_kind_is_a_name_or_an_object(typed: str | None, value: object) -> None:
    assert read_kind(typed, "--executor") == value


@pytest.mark.parametrize(
    ("fields", "option", "words"),
    [
        ({"executor": {"type": "thredpool"}}, "--executor", "no type 'thredpool'. Did you mean 'threadpool'?"),
        ({"executor": {"type": "x"}}, "--executor", "there are local, synchronous, threadpool"),
        ({"executor": {"max_worker": 2}}, "--executor", "no key 'max_worker' in it. Did you mean 'max_workers'?"),
        ({"executor": {"max_workers": 0}}, "--executor", "`max_workers`: expected `int` >= 1"),
        ({"cache": {"recompute": 3}}, "--cache", "`recompute`: expected"),
        ({"cache": {"default_behavior": "ignor"}}, "--cache", "no default_behavior 'ignor'. Did you mean 'ignore'?"),
        ({"with_adapter": {"mlflow": "yes"}}, "--with-adapter", "expected `bool`"),
        ({"max_retries": -1}, "--max-retries", "Expected `int` >= 0"),
        ({"retry_delay": -1.0}, "--retry-delay", "Expected `float` >= 0.0"),
    ],
)
def test_settings_that_do_not_fit_name_the_option(fields: dict[str, object], option: str, words: str) -> None:
    with pytest.raises(typer.BadParameter) as error:
        make_settings(**fields)

    assert error.value.param_hint == option
    assert words in str(error.value)


def test_settings_are_what_was_given_and_nothing_else() -> None:
    settings = make_settings(inputs={"x": 1}, executor={"type": "local"}, cache=None, max_retries=0)

    assert settings == RunSettings(inputs={"x": 1}, executor={"type": "local"}, max_retries=0)


@pytest.mark.parametrize(
    ("typed", "past", "moment"),
    [
        ("2026-11-22T10:15:00Z", False, datetime(2026, 11, 22, 10, 15, tzinfo=UTC)),
        ("2026-11-22T10:15:00", False, datetime(2026, 11, 22, 10, 15)),  # noqa: DTZ001 (the project's zone)
        ("15m", False, NOW + timedelta(minutes=15)),
        ("2h", True, NOW - timedelta(hours=2)),
        ("1.5d", True, NOW - timedelta(hours=36)),
        ("250ms", False, NOW + timedelta(milliseconds=250)),
    ],
)
def test_a_time_is_iso_or_a_span_from_now(typed: str, past: bool, moment: datetime) -> None:  # noqa: FBT001
    assert read_moment(typed, "--since", NOW, past=past) == moment


@pytest.mark.parametrize("typed", ["tomorrow", "2x", "", "99999999999d"])
def test_a_time_that_is_none_is_a_usage_error(typed: str) -> None:
    with pytest.raises(typer.BadParameter, match="is no time"):
        read_moment(typed, "--since", NOW, past=True)


def test_a_request_that_does_not_fit_names_the_option() -> None:
    with pytest.raises(typer.BadParameter) as error:
        make_request(key="k" * 300)

    assert error.value.param_hint == "--key"
