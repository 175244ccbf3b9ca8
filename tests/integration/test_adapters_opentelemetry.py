"""Spans of runs, as a real OTLP receiver gets them over gRPC."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hamilton import driver
from opentelemetry import context, trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from fpbus.pipelines import Project
from fpbus.pipelines.adapters import make_adapters
from fpbus.pipelines.modules import import_pipeline
from fpbus.pipelines.scope import RunFacts, RunScope, ignore
from fpbus.schemas import RunConfig
from fpbus.schemas.adapters import AdapterConfig, OpenTelemetryConfig
from support.otlp import Receiver
from support.servers import free_port

STEPS = """
def doubled(number: int) -> int:
    return number * 2

def inverse(doubled: int) -> float:
    return 1 / doubled
"""

ERROR = 2  # STATUS_CODE_ERROR of OTLP


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver(free_port())
    yield receiver
    receiver.server.stop(None).wait()


@pytest.fixture(autouse=True)
def project(tmp_path: Path) -> Iterator[Path]:
    path = list(sys.path)
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines/steps.py").write_text(STEPS)
    yield tmp_path
    sys.path[:] = path
    for name in [name for name in sys.modules if name.partition(".")[0] == "pipelines"]:
        del sys.modules[name]


def a_driver(project: Path, scope: RunScope, port: int, **more: Any) -> Any:
    settings = AdapterConfig(opentelemetry=OpenTelemetryConfig(host="127.0.0.1", port=port, **more))
    module = import_pipeline(project, "steps")
    adapters = make_adapters(RunConfig(with_adapter={"opentelemetry": True}), settings, scope, "shop")
    return driver.Builder().with_modules(module).with_adapters(*adapters).build()


def begin(scope: RunScope, run_id: str, attempt: int = 1) -> None:
    facts = RunFacts(run_id=run_id, pipeline="steps", attempt=attempt, inputs={}, config={}, final_vars=[])
    scope.begin(facts, ignore)


def attributes(spans: Any) -> dict[str, Any]:
    return {item.key: item.value.string_value or item.value.int_value for item in spans.attributes}


def test_a_run_is_a_span_with_one_below_it_for_each_node(project: Path, receiver: Receiver) -> None:
    scope = RunScope()
    dag = a_driver(project, scope, receiver.port, headers={"X-Key": "secret"})

    begin(scope, "r1", attempt=2)
    dag.execute(["inverse"], inputs={"number": 2})

    run, doubled, inverse = receiver.named("run steps"), receiver.named("doubled"), receiver.named("inverse")
    assert len(receiver.spans) == 3, "they are there when the run has ended"
    assert run.parent_span_id == b""
    assert {doubled.parent_span_id, inverse.parent_span_id} == {run.span_id}
    assert {span.trace_id for span in receiver.spans} == {run.trace_id}
    for span in receiver.spans:
        assert attributes(span) == {
            "fpbus.pipeline": "steps",
            "fpbus.attempt": 2,
            "messaging.message.conversation_id": "r1",
        }
        assert span.status.code != ERROR
    assert run.start_time_unix_nano <= doubled.start_time_unix_nano <= doubled.end_time_unix_nano
    assert doubled.end_time_unix_nano <= inverse.start_time_unix_nano
    assert inverse.end_time_unix_nano <= run.end_time_unix_nano
    assert attributes(receiver.resources[0].resource)["service.name"] == "shop"
    assert receiver.headers["x-key"] == "secret"


def test_what_a_node_raises_is_in_its_span_and_the_runs(project: Path, receiver: Receiver) -> None:
    scope = RunScope()
    dag = a_driver(project, scope, receiver.port, service_name="till")

    begin(scope, "r1")
    with pytest.raises(ZeroDivisionError):
        dag.execute(["inverse"], inputs={"number": 0})

    assert receiver.named("doubled").status.code != ERROR
    for span in (receiver.named("inverse"), receiver.named("run steps")):
        assert span.status.code == ERROR
        assert span.status.message == "ZeroDivisionError: division by zero"
        assert attributes(span.events[0])["exception.type"] == "ZeroDivisionError"
    assert attributes(receiver.resources[0].resource)["service.name"] == "till"


def test_each_run_of_a_kept_driver_is_a_trace_of_its_own(project: Path, receiver: Receiver) -> None:
    scope = RunScope()
    dag = a_driver(project, scope, receiver.port)

    for run_id in ("r1", "r2"):
        begin(scope, run_id)
        dag.execute(["doubled"], inputs={"number": 2})

    runs = {
        attributes(span)["messaging.message.conversation_id"]: span for span in receiver.spans if span.name != "doubled"
    }
    assert set(runs) == {"r1", "r2"}
    assert runs["r1"].trace_id != runs["r2"].trace_id


def test_a_run_continues_the_trace_that_is_current(project: Path, receiver: Receiver) -> None:
    scope = RunScope()
    dag = a_driver(project, scope, receiver.port)
    message = SpanContext(0xA1, 0xB2, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))

    begin(scope, "r1")
    token = context.attach(trace.set_span_in_context(NonRecordingSpan(message)))
    dag.execute(["doubled"], inputs={"number": 2})
    context.detach(token)

    run = receiver.named("run steps")
    assert run.trace_id == (0xA1).to_bytes(16)
    assert run.parent_span_id == (0xB2).to_bytes(8)


def test_a_run_continues_the_trace_of_its_message(project: Path, receiver: Receiver) -> None:
    (project / "conf/pipelines").mkdir(parents=True)
    where = f"{{host: 127.0.0.1, port: {receiver.port}}}"
    (project / "conf/project.yml").write_text(f"name: shop\nadapter: {{opentelemetry: {where}}}\n")
    run = "{with_adapter: {opentelemetry: true}, inputs: {number: 2}}"
    (project / "conf/pipelines/steps.yml").write_text(f"run: {run}\n")
    graph = Project.load(project).graph("steps")

    graph.attempt(graph.config.run, "r1", 1, traceparent="00-000000000000000000000000000000a1-00000000000000b2-01")

    span = receiver.named("run steps")
    assert span.trace_id == (0xA1).to_bytes(16)
    assert span.parent_span_id == (0xB2).to_bytes(8)


def test_nodes_in_threads_are_below_the_run(project: Path, receiver: Receiver) -> None:
    scope = RunScope()
    settings = AdapterConfig(opentelemetry=OpenTelemetryConfig(host="127.0.0.1", port=receiver.port))
    run = RunConfig(with_adapter={"opentelemetry": True, "future": True})
    adapters = make_adapters(run, settings, scope, "shop")
    dag = driver.Builder().with_modules(import_pipeline(project, "steps")).with_adapters(*adapters).build()

    begin(scope, "r1")
    dag.execute(["inverse"], inputs={"number": 2})

    above = {span.name: span.parent_span_id for span in receiver.spans}
    root = receiver.named("run steps").span_id
    assert above == {"run steps": b"", "doubled": root, "inverse": root}


def test_a_receiver_that_is_away_is_told_once_until_it_is_back(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    scope, port = RunScope(), free_port()
    dag = a_driver(project, scope, port)

    with caplog.at_level(logging.DEBUG):
        for run_id in ("r1", "r2", "r3"):
            begin(scope, run_id)
            assert dag.execute(["doubled"], inputs={"number": 2}) == {"doubled": 4}
    warned = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [vars(record)["run_id"] for record in warned] == ["r1"]
    assert f"the OTLP receiver at 127.0.0.1:{port} does not take spans" in warned[0].getMessage()

    back = Receiver(port)
    begin(scope, "r4")
    dag.execute(["inverse"], inputs={"number": 2})
    back.wait_for("inverse")
    back.server.stop(None).wait()
