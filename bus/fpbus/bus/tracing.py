"""W3C trace context through everything: from a message to its job, its run and its result.

Spans are OpenTelemetry's, and go where the process' tracer provider has them exported. Without a provider there
are none, but the context travels all the same, so that a device's trace continues in the results.
"""

import re
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self

from opentelemetry import trace
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import INVALID_SPAN, ProxyTracerProvider, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_propagator: Final = TraceContextTextMapPropagator()
_tracer: Final = trace.get_tracer("fpbus")
_ids: Final = RandomIdGenerator()
_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?")

Attributes = Mapping[str, str | int | bool | float]


class Span:
    """One step of a trace. `traceparent` is what the next step is to be told."""

    def __init__(self, name: str, traceparent: str | None, attributes: Attributes, *, consumer: bool = True) -> None:
        self._span: trace.Span = INVALID_SPAN
        if isinstance(trace.get_tracer_provider(), ProxyTracerProvider):
            self.traceparent = _next(traceparent)
            return
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


def _next(traceparent: str | None) -> str:
    """Return the context of a span that continues a trace, or begins one, where nobody keeps spans."""
    known = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    trace_id, flags = known.group(1, 2) if known else (f"{_ids.generate_trace_id():032x}", "01")
    return f"00-{trace_id}-{_ids.generate_span_id():016x}-{flags}"
