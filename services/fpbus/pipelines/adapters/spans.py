"""A trace of each run for an OTLP receiver: one span for the run, and one below it for each node."""

import weakref
from typing import Any, Final

from hamilton.lifecycle.base import BasePostGraphExecute, BasePostNodeExecute, BasePreGraphExecute, BasePreNodeExecute
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from fpbus.pipelines.scope import RunScope
from fpbus.schemas.adapters import OpenTelemetryConfig

from .outlet import Outlet

_propagator: Final = TraceContextTextMapPropagator()
_Node = tuple[str | None, str]


class RunSpans(BasePreGraphExecute, BasePreNodeExecute, BasePostNodeExecute, BasePostGraphExecute):  # type: ignore[misc]  # Hamilton's classes are Any to us
    """Continues the trace of a run's message, or the one that is current. Nodes may run in any thread."""

    def __init__(self, config: OpenTelemetryConfig, scope: RunScope, project: str) -> None:
        self._scope = scope
        self._outlet: Final = Outlet(config)
        resource = Resource.create({"service.name": config.service_name or project})
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(self._outlet.processor)
        self._tracer = provider.get_tracer("fpbus")
        self._run: Span | None = None
        self._below: Context | None = None
        self._nodes: dict[_Node, Span] = {}
        weakref.finalize(self, self._outlet.close).atexit = False  # a driver that is not kept any more

    def pre_graph_execute(self, **_: Any) -> None:
        name = f"run {self._scope.facts.pipeline}"
        above = self._scope.facts.traceparent
        context = _propagator.extract({"traceparent": above}) if above else None
        self._run = self._tracer.start_span(name, context, kind=SpanKind.INTERNAL, attributes=self._attributes())
        self._below = trace.set_span_in_context(self._run)
        self._nodes = {}

    def pre_node_execute(self, *, node_: Any, task_id: str | None = None, **_: Any) -> None:
        # The same node may run in several tasks at once, as between Parallelizable and Collect.
        span = self._tracer.start_span(node_.name, self._below, attributes=self._attributes())
        self._nodes[task_id, node_.name] = span

    def post_node_execute(self, *, node_: Any, error: Exception | None, task_id: str | None = None, **_: Any) -> None:
        span = self._nodes.pop((task_id, node_.name), None)
        if span is not None:
            _end(span, error)

    def post_graph_execute(self, *, error: Exception | None, **_: Any) -> None:
        if self._run is not None:
            _end(self._run, error)
        self._outlet.flush()

    def _attributes(self) -> dict[str, str | int]:
        facts = self._scope.facts
        return {
            "fpbus.pipeline": facts.pipeline,
            "fpbus.attempt": facts.attempt,
            "messaging.message.conversation_id": facts.run_id,
        }


def _end(span: Span, error: BaseException | None) -> None:
    if error is not None:
        span.record_exception(error)
        span.set_status(StatusCode.ERROR, f"{type(error).__name__}: {error}")
    span.end()
