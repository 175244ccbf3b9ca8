"""The documentation: what it says is done and compared, and what there is to say is there."""

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import cbor2
import msgspec
import pyarrow as pa
import pytest
from google.protobuf import struct_pb2  # type: ignore[import-untyped]  # it has no hints
from msgspec import Struct, structs

from fpbus.pipelines import Project
from fpbus.project import make_project
from fpbus.project.pipeline_template import make_pipeline
from fpbus.schemas import PipelineConfig, ProjectConfig
from fpbus.schemas.windows import BatchWindow
from fpbus.triggers import Message, ProjectCodecs
from support.pages import ROOT, Reader, blocks_of, cells
from support.servers import Broker, Redis
from support.stack import Stack

DOCS = ROOT / "docs"


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    made = Reader(tmp_path)
    yield made
    made.close()


def test_getting_started_is_so(reader: Reader) -> None:
    start = reader.folder
    for block in blocks_of(DOCS / "getting-started.md"):
        reader.do(block)

    assert (start / "weather/graphs/boiler.svg").read_text().startswith("<svg")
    shown = subprocess.run(
        [sys.executable, "-m", "fpbus", "runs", "list", "--format", "json"],
        cwd=reader.folder,
        env=reader.environment,
        capture_output=True,
        check=True,
    )
    runs = {run["run_id"]: run["state"] for run in json.loads(shown.stdout)}
    assert (len(runs), runs["reading-1"], set(runs.values())) == (2, "succeeded", {"succeeded"})


def test_the_python_page_is_so(
    tmp_path: Path, mosquitto: Broker, redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stack = Stack(tmp_path / "stack", mosquitto.url, redis_server.url)
    stack.environment["FPBUS_PROJECT"] = str(tmp_path / "weather")
    reader = Reader(tmp_path, broker=mosquitto.url)
    try:
        for block in blocks_of(DOCS / "python.md"):
            if block.file:
                (tmp_path / "weather" / block.file).write_text(block.text)
                continue
            if "Control.connect" in block.text:
                stack.start()
            reader.do(block)
    finally:
        stack.stop()

    assert reader.names["result"].state == "succeeded"
    assert "reading-1" in {run.run_id for run in reader.names["runs"]}


def test_the_page_of_devices_that_publish_is_so(
    reader: Reader, mosquitto: Broker, redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(reader.folder)
    monkeypatch.setenv("FPBUS_MQTT_URL", mosquitto.url)
    reader.environment["FPBUS_MQTT_URL"] = mosquitto.url
    stack = Stack(reader.folder / "stack", mosquitto.url, redis_server.url)
    try:
        stack.start()
        for block in blocks_of(DOCS / "edge.md"):
            reader.do(block)
        assert len(stack.wait_records(3)) == 3
    finally:
        stack.stop()


def test_the_page_of_devices_is_so(reader: Reader) -> None:
    for block in blocks_of(DOCS / "devices.md"):
        if block.language != "c":
            reader.do(block)

    report = Project.load(reader.folder).graph("report").config.triggers[0].window
    assert report == BatchWindow(size=60, max_wait_s=900, as_input="readings")
    codecs = ProjectCodecs(reader.folder)
    table, message = pa.table({"t": [1.5]}), struct_pb2.Struct()
    message.update({"t": 1.5})
    arrow = io.BytesIO()
    with pa.ipc.new_stream(arrow, table.schema) as writer:
        writer.write_table(table)
    for codec, payload in {
        "yaml": b"[{t: 1.5}]",
        "arrow": arrow.getvalue(),
        "cbor": cbor2.dumps([{"t": 1.5}]),
        "protobuf": message.SerializeToString(),
    }.items():
        value = codecs(f"pipelines.decoding.read_{codec}", Message("t", payload, datetime.now(UTC)))
        assert value in ([{"t": 1.5}], {"t": 1.5})


def test_the_security_page_is_so(reader: Reader) -> None:
    for block in blocks_of(DOCS / "security.md"):
        reader.do(block)

    secrets = {str(path.relative_to(reader.folder / "access/secrets")) for path in reader.folder.rglob("secrets/**/*")}
    assert {"dispatcher", "runner", "recorder", "scheduler", "operator", "devices/boiler-7", "redis/runner"} < secrets
    trusted = ["openssl", "verify", "-x509_strict", "-CAfile", "access/authority.pem", "access/server.crt"]
    subprocess.run(trusted, cwd=reader.folder, check=True, capture_output=True)


def test_the_page_of_the_doctor_is_so(reader: Reader) -> None:
    for block in blocks_of(DOCS / "doctor.md"):
        reader.do(block)


def test_the_files_of_the_configuration_page_can_be_loaded(reader: Reader) -> None:
    make_project(reader.folder, "weather")
    make_pipeline(reader.folder, "orders")
    make_pipeline(reader.folder, "boiler")
    for block in blocks_of(DOCS / "configuration.md"):
        reader.do(block)

    project = Project.load(reader.folder)

    assert project.graph("orders").config.run.executor.max_workers == 8
    boiler = project.graph("boiler").config
    assert boiler.limits.per_s == pytest.approx(100 / 60)
    assert [getattr(each, "pipeline", each) for each in boiler.on_success + boiler.on_failure] == ["report", "alert"]


SECTIONS: Mapping[str, tuple[type[Struct], set[str]]] = {
    "conf/project.yml": (ProjectConfig, {"job_queue", "run", "adapter"}),
    "job_queue": (ProjectConfig, set()),
    "conf/pipelines/NAME.yml": (
        PipelineConfig,
        {"run", "schedule", "triggers", "limits", "adapter", "on_success", "on_failure"},
    ),
    "run": (PipelineConfig, set()),
    "schedule": (PipelineConfig, set()),
    "triggers": (PipelineConfig, set()),
    "limits": (PipelineConfig, set()),
    "adapter": (PipelineConfig, set()),
}


def _leaves(kind: type[Struct], apart: set[str], before: str = "") -> Iterator[tuple[str, structs.FieldInfo]]:
    """Yield the keys of a mapping with those below them, but not below the ones that have a table of their own."""
    for field in structs.fields(kind):
        yield before + field.encode_name, field
        if field.name not in apart and not before.startswith("profiles"):
            for below in _mappings(field.type):
                yield from _leaves(below, set(), f"{before}{field.encode_name}.")


def _mappings(kind: Any) -> Iterator[type[Struct]]:
    if isinstance(kind, type) and issubclass(kind, Struct):
        yield kind
    for argument in get_args(kind):
        yield from _mappings(argument)


def _default(field: structs.FieldInfo) -> str | None:
    """Return the default as the page writes it; None where a mapping has those of its keys."""
    if field.required:
        return "required"
    default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if isinstance(default, Struct) or (default is None and any(_mappings(field.type))):
        return None
    if default is None:
        return "none"
    return f"`{default}`" if isinstance(default, str) else f"`{msgspec.json.encode(default).decode()}`"


@pytest.mark.parametrize("title", SECTIONS)
def test_every_key_is_on_the_page_with_its_default(title: str) -> None:
    kind, apart = SECTIONS[title]
    shown = cells(DOCS / "configuration.md", title)
    if not apart:
        (kind,) = _mappings(next(field.type for field in structs.fields(kind) if field.name == title))
    known: Mapping[str, str | None] = {
        key: _default(field) for key, field in _leaves(kind, apart) if not key.startswith(("profiles.", "hooks."))
    }

    wrong = {key: default for key, default in known.items() if default is not None and shown.get(key) != default}

    assert wrong == {}
    assert {key for key in shown if key not in known} == set()
    assert {key for key, default in known.items() if default is None and not _told(key, shown)} == set()


def _told(key: str, shown: Mapping[str, str]) -> bool:
    return any(other == key or other.startswith(f"{key}.") for other in shown)


def test_the_page_of_commands_is_what_the_commands_say() -> None:
    typer = [str(Path(sys.executable).with_name("typer")), "fpbus.cli.main", "utils", "docs", "--name", "fpbus"]
    told = subprocess.run(typer, capture_output=True, check=True, text=True).stdout

    assert (DOCS / "commands.md").read_text() == f"{told.strip()}\n", "`make docs` writes it anew"


def test_every_page_is_linked_and_every_link_leads_somewhere() -> None:
    pages = [ROOT / "README.md", *DOCS.glob("*.md")]
    linked = set()
    for page in pages:
        for target in re.findall(r"\]\(([\w./-]+\.md)(?:#[\w-]+)?\)", page.read_text()):
            assert (page.parent / target).is_file(), f"{page.name}: {target}"
            linked.add((page.parent / target).resolve())

    assert {page for page in DOCS.glob("*.md") if page not in linked} == set()
