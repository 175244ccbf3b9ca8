"""The way to an OTLP receiver. One that is away is waited for once, then only in the background until it is back."""

import logging
import threading
from collections.abc import Sequence
from typing import Final

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from fpbus.schemas.adapters import OpenTelemetryConfig

_FLUSH_S: Final = 2
_EVERY_MS: Final = 1_000

# They log every try; what is to be known of a receiver that is away is said once.
for _loud in ("opentelemetry.exporter.otlp.proto.grpc", "opentelemetry.sdk._shared_internal"):
    logging.getLogger(_loud).setLevel(logging.CRITICAL)


class ReceiverSilentError(Exception):
    """Nobody took the spans in time."""


class Outlet:
    """Sends spans in batches while a run is on, and what is left of them at its end."""

    def __init__(self, config: OpenTelemetryConfig) -> None:
        self._address = f"{config.host}:{config.port}"
        headers = {name.lower(): value for name, value in config.headers.items()}  # as gRPC wants them
        self._exporter = _Watched(
            OTLPSpanExporter(self._address, insecure=not config.secure, headers=headers, timeout=_FLUSH_S)
        )
        self.processor = BatchSpanProcessor(self._exporter, schedule_delay_millis=_EVERY_MS)
        self._told = False

    def flush(self) -> None:
        """Send what is left, for two seconds at most; raise `ReceiverSilentError` once for each time it is away."""
        if not self._exporter.silent:
            self._told = False
            flushing = threading.Thread(target=self.processor.force_flush, name="flush spans", daemon=True)
            flushing.start()
            flushing.join(_FLUSH_S)
            self._exporter.silent = self._exporter.silent or flushing.is_alive()
        if self._exporter.silent and not self._told:
            self._told = True
            raise ReceiverSilentError(f"the OTLP receiver at {self._address} does not take spans")

    def close(self) -> None:
        """Let the exporting thread end, without waiting for it."""
        threading.Thread(target=self.processor.shutdown, name="close spans", daemon=True).start()


class _Watched(SpanExporter):
    """Remembers whether the last batch arrived."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.silent = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            self.silent = result is not SpanExportResult.SUCCESS
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()
