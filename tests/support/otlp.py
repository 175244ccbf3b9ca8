"""A real OTLP receiver over gRPC."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """An OTLP receiver that remembers."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.requests: list[Any] = []
        self.headers: dict[str, str] = {}
        self.arrived = threading.Condition()
        self.server = grpc.server(ThreadPoolExecutor(2))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self.server)  # type: ignore[no-untyped-call]  # generated
        self.server.add_insecure_port(f"127.0.0.1:{port}")
        self.server.start()

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 (gRPC calls it so)
        with self.arrived:
            self.headers.update(context.invocation_metadata())
            self.requests.append(request)
            self.arrived.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()

    @property
    def resources(self) -> list[Any]:
        return [resource for request in self.requests for resource in request.resource_spans]

    @property
    def spans(self) -> list[Any]:
        return [span for resource in self.resources for scope in resource.scope_spans for span in scope.spans]

    def named(self, name: str) -> Any:
        (found,) = [span for span in self.spans if span.name == name]
        return found

    def wait_for(self, name: str) -> None:
        with self.arrived:
            assert self.arrived.wait_for(lambda: name in [span.name for span in self.spans], 15), name
