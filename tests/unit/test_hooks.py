"""Hooks are found where the project has them, called with values of their own, and never harm a run unasked."""

import ast
import importlib
import logging
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from fpbus.pipelines import PipelineNotLoadableError, hooks
from fpbus.pipelines.hook_calls import HookFailedError, Hooks, run_end
from fpbus.pipelines.scope import RunFacts, RunScope
from fpbus.project import ProjectError, UnknownPipelineError, make_project
from fpbus.project.hook_template import HOOK_TYPES, HookNotAddedError, add_hook
from fpbus.schemas import HookConfig

IMPORTS = "from fpbus.pipelines.hooks import *\nimport builtins\n"


@pytest.fixture(autouse=True)
def _own_modules() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name in [name for name in sys.modules if name.partition(".")[0] in {"hooks", "pipelines", "alarms"}]:
        del sys.modules[name]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_project(tmp_path, "weather")
    return tmp_path


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return a list that hooks reach as `builtins.heard`."""
    told: list[Any] = []
    monkeypatch.setattr("builtins.heard", told, raising=False)
    return told


def write(folder: Path, path: str, text: str) -> None:
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(IMPORTS + text)


def facts(**changes: Any) -> RunFacts:
    usual = RunFacts(run_id="r1", pipeline="hello", attempt=1, inputs={"a": [1]}, config={"c": 2}, final_vars=["x"])
    return msgspec.structs.replace(usual, **changes)


def load(folder: Path, pipeline: str = "hello", *configured: tuple[str, str], hooks_dir: str = "hooks") -> Hooks:
    configs = [msgspec.convert({"type": kind, "function": name}, HookConfig) for kind, name in configured]
    return Hooks.load(folder, hooks_dir, pipeline, configs)


def noting(name: str, decorator: str = "@before_run") -> str:
    return f"\n{decorator}\ndef {name}(value):\n    builtins.heard.append('{name}')\n"


# Found


def test_a_project_without_hooks_has_none(folder: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()

    for place in (folder, bare):
        found = load(place)

        assert not found.has(*get_args(msgspec.structs.fields(HookConfig)[0].type))
        assert found.node_adapter(RunScope()) is None
        assert found.async_node_adapter(RunScope()) is None
        assert found.message("t", b"") == ({}, {})


def test_hooks_are_called_by_file_then_from_top_to_bottom_then_as_configured(folder: Path, heard: list[Any]) -> None:
    write(folder, "hooks/b.py", noting("b_second") + noting("b_first") + noting("plain", "# no decorator"))
    write(folder, "hooks/a.py", noting("a"))
    write(folder, "hooks/__init__.py", noting("package"))
    write(folder, "hooks/hello/hook.py", noting("own"))
    write(folder, "hooks/other/hook.py", noting("of_another_pipeline"))

    load(folder, "hello", ("before_run", "hooks.b.plain"), ("before_run", "hooks.a.a")).before_run(facts())

    assert heard == ["package", "a", "b_second", "b_first", "own", "plain"]


def test_a_decorator_names_pipelines_or_patterns(folder: Path, heard: list[Any]) -> None:
    write(
        folder,
        "hooks/gates.py",
        noting("bare")
        + noting("empty", "@before_run()")
        + noting("named", '@before_run("hello", "other")')
        + noting("by_pattern", '@before_run("plant_*")')
        + noting("twice", '@before_run("hello")\n@before_run("hel*")'),
    )

    load(folder, "hello").before_run(facts())
    assert heard == ["bare", "empty", "named", "twice"]

    heard.clear()
    load(folder, "plant_7").before_run(facts())
    assert heard == ["bare", "empty", "by_pattern"]


def test_one_function_may_be_a_hook_of_several_moments(folder: Path, heard: list[Any]) -> None:
    write(folder, "hooks/notes.py", noting("note", "@on_success\n@on_failure"))
    found = load(folder)

    found.on_success(run_end(facts(), 1.0, outputs={}))
    found.on_failure(run_end(facts(), 1.0, error=KeyError("x")))
    found.after_run(run_end(facts(), 1.0, outputs={}))

    assert heard == ["note", "note"]


def test_a_hook_that_is_imported_elsewhere_is_called_once(folder: Path, heard: list[Any]) -> None:
    write(folder, "hooks/a.py", "from hooks.b import note\nalias = note\n")
    write(folder, "hooks/b.py", noting("note") + "alias = note\n")
    write(folder, "hooks/hello/hook.py", "from hooks.b import note\nfrom hooks.other.hook import foreign\n")
    write(folder, "hooks/other/hook.py", noting("foreign"))

    load(folder).before_run(facts())

    assert heard == ["note"]


def test_a_hook_behind_a_decorator_without_wraps_is_found(folder: Path, heard: list[Any]) -> None:
    write(folder, "tools.py", "def loudly(f):\n    def wrapper(*a):\n        return f(*a)\n    return wrapper\n")
    write(folder, "hooks/a.py", "from tools import loudly\n" + noting("note", "@before_run\n@loudly"))

    load(folder).before_run(facts())

    assert heard == ["note"]
    del sys.modules["tools"]


def test_objects_that_make_up_attributes_are_no_hooks(folder: Path) -> None:
    write(
        folder,
        "hooks/a.py",
        "class Anything:\n    def __getattr__(self, name):\n        raise RuntimeError(name)\nthing = Anything()\n",
    )

    assert not load(folder).has("before_run")


@pytest.mark.parametrize("pipeline", ["heat-alarm", "a.b", "a__b", "7up"])
def test_a_pipelines_subfolder_may_have_any_pipelines_name(folder: Path, heard: list[Any], pipeline: str) -> None:
    for name in ("heat-alarm", "heat_alarm", "a.b", "a__b", "a_b", "7up"):
        write(folder, f"hooks/{name}/hook.py", f"@before_run\ndef own(value):\n    builtins.heard.append('{name}')\n")

    load(folder, pipeline.replace(".", "__")).before_run(facts())
    load(folder, pipeline).before_run(facts())

    assert heard == [pipeline.replace(".", "__"), pipeline]


def test_the_hooks_folder_may_have_another_name_and_needs_no_init_file(folder: Path, heard: list[Any]) -> None:
    write(folder, "alarms/inner/a.py", noting("note"))

    load(folder, hooks_dir="alarms/inner").before_run(facts())

    assert heard == ["note"]


def test_two_projects_in_one_process_keep_their_own_hooks(tmp_path: Path, heard: list[Any]) -> None:
    for name in ("first", "second"):
        make_project(tmp_path / name, name)
        write(tmp_path / name, "hooks/a.py", noting(f"of_{name}"))
    (tmp_path / "second/hooks/__init__.py").unlink()

    first, second = load(tmp_path / "first"), load(tmp_path / "second")
    again = load(tmp_path / "first")
    for found in (first, second, again):
        found.before_run(facts())

    assert heard == ["of_first", "of_second", "of_first"]


def test_hooks_that_another_projects_own_code_imported_are_no_obstacle(
    tmp_path: Path, heard: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        make_project(tmp_path / name, name)
        write(tmp_path / name, "hooks/a.py", noting(f"of_{name}"))
    monkeypatch.syspath_prepend(tmp_path / "first")
    importlib.import_module("hooks.a")

    load(tmp_path / "second").before_run(facts())

    assert heard == ["of_second"]


@pytest.mark.parametrize("hooks_dir", ["", ".", "..", "../hooks", "/tmp/hooks", "my-hooks", "json", "fpbus", "class"])  # noqa: S108 (a name)
def test_a_hooks_dir_that_cannot_be_one_is_an_error(folder: Path, hooks_dir: str) -> None:
    with pytest.raises(ProjectError, match="`hooks_dir` is"):
        load(folder, hooks_dir=hooks_dir)


def test_a_hooks_dir_with_the_name_of_an_imported_package_is_an_error(folder: Path) -> None:
    write(folder, "msgspec/a.py", noting("note"))

    with pytest.raises(PipelineNotLoadableError, match=r"'msgspec' is there already, from .*msgspec/__init__.py"):
        load(folder, hooks_dir="msgspec")

    assert sys.modules["msgspec"] is msgspec


def test_a_file_hidden_by_a_folder_is_an_error(folder: Path) -> None:
    write(folder, "hooks/hello.py", noting("a"))
    write(folder, "hooks/hello/hook.py", noting("b"))

    with pytest.raises(PipelineNotLoadableError, match=r"hooks/hello.py is hidden by the folder hello/"):
        load(folder)


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ("\n\nimport no_such_module\n", 5, "ModuleNotFoundError"),
        ("def broken(:\n", 3, "SyntaxError"),
        ("raise SystemExit(3)\n", 3, "SystemExit: 3"),
        ("\n@before_run(3)\ndef gate(value): ...\n", 4, "@before_run takes names of pipelines, not"),
        ("\n@before_run\nclass Gate: ...\n", 4, "@before_run stands above a function"),
        ("from tools import nothing\n", 3, "ImportError"),
    ],
)
def test_a_module_that_cannot_be_imported_is_told_with_its_line(
    folder: Path, text: str, line: int, sentence: str
) -> None:
    write(folder, "hooks/a.py", text)
    write(folder, "tools.py", "")

    with pytest.raises(PipelineNotLoadableError) as raised:
        load(folder)

    assert str(raised.value).startswith(f"{folder}/hooks/a.py:{line}: ")
    assert sentence in str(raised.value)
    assert raised.value.traceback
    sys.modules.pop("tools", None)


def test_an_error_in_the_packages_own_file_is_told_and_gone_when_repaired(folder: Path, heard: list[Any]) -> None:
    write(folder, "hooks/__init__.py", "1 / 0\n")
    with pytest.raises(PipelineNotLoadableError, match=r"hooks/__init__.py:3: .*ZeroDivisionError"):
        load(folder)

    write(folder, "hooks/__init__.py", noting("note"))
    load(folder).before_run(facts())

    assert heard == ["note"]


@pytest.mark.parametrize(
    ("function", "sentence", "hint"),
    [
        ("hooks.alerts.pgae", "has nothing of that name", "Did you mean 'page'?"),
        ("hooks.alert.page", "there is no module 'hooks.alert'", "Did you mean 'hooks.alerts'?"),
        ("nowhere.at.all", "there is no module 'nowhere.at'", None),
        ("hooks.alerts.page.inner", "there is no module 'hooks.alerts.page'", None),
        ("hooks.alerts.LIMIT", "holds a int there", None),
        ("sys.nothing_here", "has nothing of that name", None),
        ("page", "has no module", "Write hooks.<module>.page."),
    ],
)
def test_a_configured_function_that_is_not_there_is_told(
    folder: Path, function: str, sentence: str, hint: str | None
) -> None:
    write(folder, "hooks/alerts.py", "LIMIT = 3\ndef page(value): ...\n")

    with pytest.raises(PipelineNotLoadableError) as raised:
        load(folder, "hello", ("on_failure", function))

    assert "on_failure hook" in str(raised.value)
    assert sentence in str(raised.value)
    assert hint is None or raised.value.hint == hint


def test_a_configured_function_may_live_anywhere_in_the_project(tmp_path: Path, heard: list[Any]) -> None:
    write(tmp_path, "alarms/deep.py", noting("note", "# no decorator"))

    load(tmp_path, "hello", ("before_run", "alarms.deep.note")).before_run(facts())

    assert heard == ["note"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("def gate(): ...", "hooks/a.py:4) cannot be called: too many positional arguments"),
        ("def gate(start, more): ...", "cannot be called: missing a required argument: 'more'"),
        ("async def gate(start): ...", "`async def` or a generator"),
        ("def gate(start):\n    yield", "`async def` or a generator"),
    ],
)
def test_a_function_that_cannot_be_called_as_a_hook_is_told(folder: Path, text: str, sentence: str) -> None:
    write(folder, "hooks/a.py", f"\n@before_run\n{text}\n")

    with pytest.raises(PipelineNotLoadableError, match=r"The hook hooks\.a\.gate") as raised:
        load(folder)

    assert sentence in str(raised.value)


# Called


def test_before_run_hears_of_the_attempt_in_dicts_of_its_own(folder: Path, heard: list[Any]) -> None:
    write(
        folder,
        "hooks/a.py",
        "@before_run\ndef first(run: RunStart):\n    builtins.heard.append(run)\n    run.inputs['b'] = 1\n"
        "    run.config.clear()\n    run.final_vars.append('y')\n"
        "@before_run\ndef second(run: RunStart):\n    builtins.heard.append(run)\n",
    )
    told = facts(attempt=2)

    load(folder).before_run(told)

    second = heard[1]
    assert isinstance(second, hooks.RunStart)
    assert (second.run_id, second.pipeline, second.attempt) == ("r1", "hello", 2)
    assert (second.inputs, second.config, second.final_vars) == ({"a": [1]}, {"c": 2}, ["x"])
    assert (told.inputs, told.config, told.final_vars) == ({"a": [1]}, {"c": 2}, ["x"])


def test_a_value_cannot_be_changed(folder: Path, heard: list[Any]) -> None:
    write(folder, "hooks/a.py", "@before_run\ndef note(run: RunStart):\n    builtins.heard.append(run)\n")
    load(folder).before_run(facts())

    with pytest.raises(AttributeError):
        heard[0].attempt = 3


@pytest.mark.parametrize("raising", ["raise LookupError('no tariff')", "raise SystemExit('no tariff')"])
def test_before_run_that_raises_stops_the_run_and_names_the_hook(folder: Path, heard: list[Any], raising: str) -> None:
    write(folder, "hooks/gates.py", f"@before_run\ndef gate(run):\n    {raising}\n" + noting("after_it"))

    with pytest.raises(HookFailedError) as raised:
        load(folder).before_run(facts())

    place = f"hooks.gates.gate ({folder}/hooks/gates.py:5)"
    kind = type(raised.value.cause).__name__
    assert str(raised.value) == f"The hook {place} stopped the run: {kind}: no tariff"
    assert isinstance(raised.value.cause, LookupError | SystemExit)
    assert heard == []


def test_the_end_of_a_run_is_told_with_outputs_or_error(folder: Path, heard: list[Any]) -> None:
    write(
        folder,
        "hooks/a.py",
        "@after_run\ndef spoil(end: RunEnd):\n    if end.outputs:\n        end.outputs.clear()\n"
        "@after_run\n@on_success\n@on_failure\ndef note(end: RunEnd):\n    builtins.heard.append(end)\n",
    )
    found, error = load(folder), KeyError("x")
    good = run_end(facts(), 1.5, outputs={"x": 7})
    bad = run_end(facts(attempt=3), 0.5, error=error, failed_node="x")

    found.after_run(good)
    found.on_success(good)
    found.after_run(bad)
    found.on_failure(bad)

    assert [(end.outputs, end.error, end.failed_node, end.duration_s, end.attempt) for end in heard] == [
        ({"x": 7}, None, None, 1.5, 1),
        ({"x": 7}, None, None, 1.5, 1),
        (None, error, "x", 0.5, 3),
        (None, error, "x", 0.5, 3),
    ]
    assert good.outputs == {"x": 7}


@pytest.mark.parametrize("raising", ["raise ValueError('wrong')", "raise SystemExit('wrong')"])
def test_other_hooks_that_raise_are_logged_once_per_run_and_harm_nothing(
    folder: Path, heard: list[Any], caplog: pytest.LogCaptureFixture, raising: str
) -> None:
    write(
        folder,
        "hooks/a.py",
        f"\n@after_run\n@on_success\n@on_failure\ndef bad(end):\n    {raising}\n"
        + noting("good", "@after_run\n@on_success\n@on_failure"),
    )
    found = load(folder)
    tell: list[Callable[[hooks.RunEnd], None]] = [found.after_run, found.on_success, found.on_failure]

    with caplog.at_level(logging.WARNING, "fpbus.pipelines.hooks"):
        for run_id in ("r1", "r1", "r2"):
            for each in tell:
                each(run_end(facts(run_id=run_id), 1.0, outputs={}))

    lines = [record for record in caplog.records if record.name == "fpbus.pipelines.hooks"]
    assert len(heard) == 9
    assert [(vars(line)["run_id"], vars(line)["moment"]) for line in lines] == [
        (run_id, moment) for run_id in ("r1", "r2") for moment in ("after_run", "on_success", "on_failure")
    ]
    assert lines[0].getMessage().startswith(f"after_run hook hooks.a.bad ({folder}/hooks/a.py:8) raised ")
    assert lines[0].getMessage().endswith(": wrong")


# Messages


def test_messages_become_inputs_and_configuration(folder: Path) -> None:
    write(
        folder,
        "hooks/hello/messages.py",
        "@on_message\ndef first(m: Message):\n    return {'celsius': float(m.payload), 'where': m.topic}\n"
        "@on_message\ndef second(m: Message):\n    return {'where': m.pipeline}\n"
        "@message_config\ndef mode(m: Message):\n    return {'mode': 'fast'}\n",
    )

    assert load(folder).message("plant/1", b"21.5") == ({"celsius": 21.5, "where": "hello"}, {"mode": "fast"})
    assert load(folder, "other").message("plant/1", b"21.5") == ({}, {})


def test_a_function_with_payload_and_topic_works_for_messages(folder: Path) -> None:
    write(
        folder,
        "hooks/hook.py",
        "def build(payload: bytes, topic: str) -> dict:\n    return {'p': payload, 't': topic}\n"
        "def turned(topic, payload):\n    return {'turned': topic}\n",
    )

    found = load(folder, "hello", ("message_config", "hooks.hook.build"), ("on_message", "hooks.hook.turned"))

    assert found.message("a/b", b"x") == ({"turned": "a/b"}, {"p": b"x", "t": "a/b"})


def test_values_of_one_message_never_reach_the_next(folder: Path) -> None:
    write(
        folder,
        "hooks/a.py",
        "KEPT = {'list': []}\n@message_config\n@on_message\ndef read(m):\n    return KEPT\n",
    )
    found = load(folder)

    inputs, config = found.message("t", b"1")
    inputs["list"].append("A")
    inputs["new"] = config["new"] = "A"

    assert found.message("t", b"2") == ({"list": []}, {"list": []})


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("return float(m.payload)", "could not read a message on 'plant/1': ValueError"),
        ("return [1]", "it returned a list, where a dict of names and values is due"),
        ("return None", "it returned a NoneType"),
        ("return {1: 2}", "where a dict of names and values is due"),
    ],
)
def test_a_message_that_a_hook_cannot_read_is_told_with_the_hook(folder: Path, body: str, sentence: str) -> None:
    write(folder, "hooks/a.py", f"@on_message\ndef read(m):\n    {body}\n")

    with pytest.raises(HookFailedError, match=r"The hook hooks\.a\.read .*hooks/a.py:") as raised:
        load(folder).message("plant/1", b"warm")

    assert sentence in str(raised.value)


# Written by add-hook


def run_written(found: Hooks, scope: RunScope) -> None:
    """Call every hook there is, as a run would."""
    found.before_run(facts())
    found.on_success(run_end(facts(), 1.0, outputs={}))
    found.on_failure(run_end(facts(), 1.0, error=KeyError("x"), failed_node="x"))
    found.after_run(run_end(facts(), 1.0, outputs={}))
    if adapter := found.node_adapter(scope):
        node: dict[str, Any] = {"node_name": "x", "node_tags": {}, "node_kwargs": {}, "task_id": None}
        adapter.run_before_node_execution(**node)
        adapter.run_after_node_execution(**node, result=1, error=None)


@pytest.mark.parametrize("to", [None, "alerts.py", "hello/more"])
@pytest.mark.parametrize("kind", [*HOOK_TYPES, *(name.replace("_", "-") for name in HOOK_TYPES)])
def test_what_is_written_runs_as_it_stands(
    folder: Path, caplog: pytest.LogCaptureFixture, kind: str, to: str | None
) -> None:
    path = add_hook(folder, "hello", "my_hook", kind, to)

    moment = {"mqtt_build_config": "message_config"}.get(kind.replace("-", "_"), kind.replace("-", "_"))
    found, other = load(folder), load(folder, "other")
    with caplog.at_level(logging.WARNING, "fpbus.pipelines.hooks"):
        run_written(found, RunScope())
    assert path == folder / "hooks" / {None: "hello/hook.py", "alerts.py": "alerts.py"}.get(to, "hello/more.py")
    assert found.has(moment)
    assert not other.has(moment)
    assert not caplog.records
    assert any(found.message("a/b", b"\xff")) == (moment in {"on_message", "message_config"})


def test_all_types_of_hooks_can_be_decorated_configured_and_written() -> None:
    decorators = {name for name, value in vars(hooks).items() if isinstance(value, hooks.HookDecorator)}
    configured = set(get_args(msgspec.structs.fields(HookConfig)[0].type))

    assert decorators == configured == set(HOOK_TYPES) - {"mqtt_build_config"}


def test_several_hooks_share_a_file_and_one_import_of_each_name(folder: Path) -> None:
    for number, kind in enumerate(("on_success", "on_failure", "on_success", "mqtt-build-config")):
        add_hook(folder, "hello", f"hook_{number}", kind)

    tree = ast.parse((folder / "hooks/hello/hook.py").read_text())
    names = [alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert sorted(names) == ["Message", "RunEnd", "message_config", "on_failure", "on_success"]
    assert functions == ["hook_0", "hook_1", "hook_2", "hook_3"]
    assert load(folder).has("on_success", "on_failure")
    assert (folder / "hooks/hello/__init__.py").is_file()


@pytest.mark.parametrize(
    "old",
    [
        "",
        "\n\n",
        "# only a comment",
        '#!/bin/python\n"""What it is.\n\nAt length."""\n\nfrom __future__ import annotations\n\nimport json\n\nx = 1',
        "import functools\n\n\n@functools.cache\ndef old():\n    return 1\n",
        "@staticmethod\ndef old():\n    return 1\n",
        '"""Doc."""; x = 1\n',
        "from __future__ import annotations; x = 1\n",
        '"""Doc."""\r\nimport json\r\nx = """a\r\nb"""\r\n',
        "\ufefftext = 'a form feed \x0c and \u2028 inside'\n\x0c\ndef old(): ...\n",
        "from fpbus.pipelines.hooks import RunEnd as RunEnd, after_run\n",
    ],
)
def test_a_file_keeps_what_it_holds(folder: Path, old: str) -> None:
    path = folder / "hooks/alerts.py"
    path.write_bytes(old.encode())

    add_hook(folder, "hello", "note", "on_failure", "alerts")

    text = path.read_bytes().decode()
    ours = [line for line in text.split("\n") if line.startswith("from fpbus") and line.rstrip() not in old]
    before = ast.unparse(ast.parse(old.lstrip("\ufeff"))).split("\n")
    after = ast.unparse(ast.parse(text)).split("\n")
    assert len(ours) == 1
    assert [line for line in before if line not in after] == []
    assert text.count("\r\n") == (text.count("\n") if "\r\n" in old else 0)
    assert ast.get_docstring(ast.parse(text)) == ast.get_docstring(ast.parse(old.lstrip("\ufeff")))
    assert load(folder).has("on_failure")


@pytest.mark.parametrize(
    ("function", "kind", "to", "sentence"),
    [
        ("not-a-name", "on_failure", None, "cannot name a function"),
        ("class", "on_failure", None, "cannot name a function"),
        ("", "on_failure", None, "cannot name a function"),
        ("print", "on_failure", None, "has a meaning already"),
        ("on_failure", "on_failure", None, "has a meaning already"),
        ("RunEnd", "on_failure", None, "has a meaning already"),
        ("note", "on_failrue", None, "no type of hook named 'on_failrue'"),
        ("note", "NODE_PRE_EXECUTE", None, "no type of hook"),
        ("note", "on_failure", "../evil.py", "leads out of"),
        ("note", "on_failure", "/tmp/evil.py", "leads out of"),  # noqa: S108 (a name)
        ("note", "on_failure", "hello/../../pipelines/hello.py", "leads out of"),
        ("note", "on_failure", "linked/evil.py", "leads out of"),
        ("note", "on_failure", "other/a.py", "Nobody looks in"),
        ("note", "on_failure", "hello/deep/a.py", "Nobody looks in"),
        ("note", "on_failure", "hooks/a.py", "Nobody looks in"),
        ("note", "on_failure", "my-alerts.py", "cannot name a Python module"),
        ("note", "on_failure", "a.b.py", "cannot name a Python module"),
        ("note", "on_failure", "", "cannot name a Python module"),
        ("taken", "on_failure", "full.py", "something named 'taken' already"),
        ("Kept", "on_failure", "full.py", "something named 'Kept' already"),
        ("json", "on_failure", "full.py", "something named 'json' already"),
        ("LIMIT", "on_failure", "full.py", "something named 'LIMIT' already"),
        ("note", "on_success", "full.py", "something named 'on_success' already"),
        ("note", "on_failure", "broken.py", "broken.py:2 is no Python"),
        ("note", "on_failure", "latin.py", "cannot be read"),
        ("note", "on_failure", "packed.py", "cannot be imported beside the folder"),
    ],
)
def test_what_cannot_be_written_is_refused_and_changes_nothing(
    folder: Path, function: str, kind: str, to: str | None, sentence: str
) -> None:
    full = "import json\nLIMIT = 1\nif LIMIT:\n    def taken(): ...\nclass Kept: ...\ndef on_success(): ...\n"
    (folder / "hooks/full.py").write_text(full)
    (folder / "hooks/broken.py").write_text("x = 1\ndef (:\n")
    (folder / "hooks/latin.py").write_bytes(b"x = '\xff'\n")
    write(folder, "hooks/packed/__init__.py", "")
    (folder / "hooks/linked").symlink_to(folder / "pipelines")
    before = contents(folder)

    with pytest.raises(ProjectError) as raised:
        add_hook(folder, "hello", function, kind, to)

    assert sentence in str(raised.value)
    assert contents(folder) == before


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_hook_for_an_unknown_pipeline_is_refused(folder: Path) -> None:
    with pytest.raises(UnknownPipelineError, match="No pipeline named 'helo'") as raised:
        add_hook(folder, "helo", "note", "on_failure")

    assert raised.value.hint == "Did you mean 'hello'?"


def test_a_close_type_is_suggested(folder: Path) -> None:
    with pytest.raises(HookNotAddedError) as raised:
        add_hook(folder, "hello", "note", "on-failrue")

    assert raised.value.hint == "Did you mean 'on_failure'?"


def test_a_folder_that_would_hide_a_file_is_not_made(folder: Path) -> None:
    add_hook(folder, "hello", "note", "on_failure", "hello.py")

    with pytest.raises(HookNotAddedError) as raised:
        add_hook(folder, "hello", "other", "on_failure")

    assert raised.value.hint == "Add the hook to that file: --to hello.py"
    assert not (folder / "hooks/hello").exists()


def test_add_hook_makes_a_hooks_folder_of_the_configured_name(folder: Path) -> None:
    with (folder / "conf/project.yml").open("a") as config:
        config.write("hooks_dir: alarms\n")

    path = add_hook(folder, "hello", "note", "on_failure")

    assert path == folder / "alarms/hello/hook.py"
    assert (folder / "alarms/__init__.py").is_file()
    assert load(folder, hooks_dir="alarms").has("on_failure")


def test_decorators_leave_functions_as_they_are() -> None:
    def note(end: hooks.RunEnd) -> None: ...

    assert hooks.on_failure(note) is note
    assert hooks.on_success("hello")(note) is note
    assert isinstance(note, types.FunctionType)
    assert [mark.moment for mark in hooks.marks_of(note)] == ["on_failure", "on_success"]
