"""`fpbus pipeline show-pipelines` and `show-summary`."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.commands import Commands

PROJECT = """
storage_options: {key: s3-key-value, secret: s3-secret-value}
job_queue:
  backend: {host: redis.example, password: redis-password-value}
adapter:
  hamilton_tracker: {username: somebody, api_key: tracker-key-value}
mqtt_url: mqtt://user:mqtt-password-value@broker.example
"""
SECRETS = ("s3-key-value", "s3-secret-value", "redis-password-value", "tracker-key-value", "mqtt-password-value")


@pytest.fixture
def fpbus(tmp_path: Path) -> Commands:
    """Type commands in a project with secrets, and a second pipeline that is scheduled in parts and has no module."""
    assert Commands(tmp_path)("init", "--name", "p").code == 0
    config = tmp_path / "p" / "conf" / "project.yml"
    config.write_text("name: p\n" + PROJECT)
    (config.parent / "pipelines" / "nightly.yml").write_text("schedule: {cron: {minute: 0, hour: 3}}\nparams: {n: 1}\n")
    return Commands(tmp_path / "p")


def test_pipelines_are_listed(fpbus: Commands) -> None:
    done = fpbus("pipeline", "show-pipelines")

    title, hello, nightly = done.out.splitlines()
    assert title.split() == ["PIPELINE", "MODULE", "CONFIGURATION", "SCHEDULE", "CHANGED", "BYTES"]
    assert hello.startswith("hello     pipelines/hello.py  conf/pipelines/hello.yml    every 1m ")
    assert nightly.startswith("nightly   (missing)           conf/pipelines/nightly.yml  cron hour=3 minute=0 ")


@pytest.mark.parametrize(("style", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_a_listing_is_a_document_too(fpbus: Commands, style: str, load: Callable[[str], list[dict[str, Any]]]) -> None:
    hello, nightly = load(fpbus("pipeline", "show_pipelines", "--format", style).out)

    assert (hello["name"], hello["module"], hello["config"]) == (
        "hello",
        "pipelines/hello.py",
        "conf/pipelines/hello.yml",
    )
    files = [fpbus.folder / hello[key] for key in ("module", "config")]
    assert hello["bytes"] == sum(file.stat().st_size for file in files)
    changed = hello["changed_at"]
    changed = changed if isinstance(changed, datetime) else datetime.fromisoformat(changed)
    assert abs(changed.timestamp() - max(file.stat().st_mtime for file in files)) < 0.001
    assert nightly["module"] is None


def test_a_pipeline_that_cannot_be_read_is_listed_all_the_same(fpbus: Commands) -> None:
    (fpbus.folder / "conf" / "pipelines" / "nightly.yml").write_text("run: [")

    done = fpbus("pipeline", "show-pipelines")

    assert done.code == 0
    assert "(cannot be read)" in done.out.splitlines()[2]


def test_an_empty_listing_is_said(fpbus: Commands, tmp_path: Path) -> None:
    fpbus("init", "--name", "bare", "--bare", "--base-dir", str(tmp_path))

    table = fpbus("pipeline", "show-pipelines", "--base-dir", str(tmp_path / "bare"))
    document = fpbus("pipeline", "show-pipelines", "--base-dir", str(tmp_path / "bare"), "--format", "json")

    assert (table.code, table.out, "fpbus pipeline new" in table.told) == (0, "", True)
    assert document.out == "[]\n"


@pytest.mark.parametrize("arguments", [(), ("--format", "json"), ("--format", "yaml"), ("--to-html",), ("--to-svg",)])
def test_a_summary_shows_everything_but_secrets(fpbus: Commands, arguments: tuple[str, ...]) -> None:
    done = fpbus("pipeline", "show-summary", *arguments)

    assert done.code == 0
    for word in ("redis.example", "somebody", "comfortable_from", "fahrenheit", "nightly"):
        assert word in done.out.replace("&#160;", " ")
    for secret in SECRETS:
        assert secret not in done.out
    assert "***" in done.out


@pytest.mark.parametrize(
    ("arguments", "there", "gone"),
    [
        (("--no-code",), ("redis.example", "comfortable_from"), ("def fahrenheit",)),
        (("--no-cfg",), ("redis.example", "def fahrenheit"), ("comfortable_from: 68",)),
        (("--no-project",), ("comfortable_from: 68", "def fahrenheit"), ("redis.example",)),
        (("--name", "nightly"), ("redis.example", "cron"), ("hello", "def fahrenheit")),
        (("--no-cfg", "--no-code"), ("redis.example",), ("comfortable_from: 68", "def fahrenheit")),
    ],
)
def test_a_summary_shows_what_it_is_asked_for(
    fpbus: Commands, arguments: tuple[str, ...], there: tuple[str, ...], gone: tuple[str, ...]
) -> None:
    done = fpbus("pipeline", "show-summary", *arguments)

    assert all(word in done.out for word in there)
    assert not any(word in done.out for word in gone)


def test_nothing_is_cut_or_wrapped_where_a_program_reads(fpbus: Commands) -> None:
    long = "x" * 300
    (fpbus.folder / "pipelines" / "hello.py").write_text(f'TEXT = "{long}"\n')

    assert f'TEXT = "{long}"\n' in fpbus("pipeline", "show-summary", "--name", "hello").out


@pytest.mark.parametrize(
    ("arguments", "start"), [(("--to-html",), "<!DOCTYPE html>"), (("--to-svg",), "<svg"), ((), "project p")]
)
def test_a_summary_is_written_to_a_file(fpbus: Commands, arguments: tuple[str, ...], start: str) -> None:
    done = fpbus("pipeline", "show-summary", *arguments, "--output-file", "summary")

    text = (fpbus.folder / "summary").read_text()
    assert (done.code, done.out) == (0, "summary\n")
    assert text.startswith(start)
    if start == "<svg":
        assert ET.fromstring(text).tag.endswith("svg")  # noqa: S314 (our own)


def test_a_summary_in_json_has_a_place_for_everything(fpbus: Commands) -> None:
    summary = json.loads(fpbus("pipeline", "show-summary", "--format", "json").out)

    assert summary["folder"] == str(fpbus.folder)
    assert summary["project"]["job_queue"]["backend"] == {"host": "redis.example", "password": "***"}
    assert summary["pipelines"]["hello"]["config"]["params"] == {"comfortable_from": 68, "comfortable_to": 77}
    assert summary["pipelines"]["hello"]["code"] == (fpbus.folder / "pipelines" / "hello.py").read_text()
    assert "code" not in summary["pipelines"]["nightly"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--name", "helo"), 4, "Did you mean 'hello'?"),
        (("--to-html", "--to-svg"), 2, "one of --to-html and --to-svg"),
        (("--format", "xml"), 2, "'xml'"),
        (("--output-file", "/nowhere/x"), 8, "/nowhere/x: No such file or directory"),
    ],
)
def test_what_cannot_be_shown_is_told(fpbus: Commands, arguments: tuple[str, ...], code: int, words: str) -> None:
    done = fpbus("pipeline", "show-summary", *arguments)

    assert (done.code, done.out) == (code, "")
    assert words in done.told
