"""W3C trace context through everything: from a message to its job, its run and its result.

Spans are OpenTelemetry's. Nothing is exported until the process has a tracer provider with an exporter;
the context travels all the same, so that a device's trace continues in the results.
"""

from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_propagator: Final = TraceContextTextMapPropagator()
_tracer: Final = trace.get_tracer("fpbus", tracer_provider=TracerProvider())

Attributes = Mapping[str, str | int | bool | float]


class Span:
    """One step of a trace. `traceparent` is what the next step is to be told."""

    def __init__(self, name: str, traceparent: str | None, attributes: Attributes, *, consumer: bool = True) -> None:
        context = _propagator.extract({"traceparent": traceparent}) if traceparent else None
        kind = SpanKind.CONSUMER if consumer else SpanKind.PRODUCER
        self._span = _tracer.start_span(name, context, kind=kind, attributes=attributes)
        carrier: dict[str, str] = {}
        _propagator.inject(carrier, trace.set_span_in_context(self._span))
        self.traceparent = carrier["traceparent"]

    def fail(self, reason: str) -> None:
        self._span.set_status(StatusCode.ERROR, reason)

    def end(self) -> None:
        self._span.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self.fail(str(error))
        self.end()
