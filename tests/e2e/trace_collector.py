"""A stand-in for an OpenTelemetry collector: takes OTLP over HTTP and keeps the spans that it decodes."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.e2e.running_shop import eventually


class Span(NamedTuple):
    """A received span; ids in hex, times in Unix nanoseconds, the parent empty where there is none."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    start: int
    end: int
    attributes: Mapping[str, Any]
    is_error: bool
    state: str
    service: str


class TraceCollector:
    """What was received. `answer` is the status of each response."""

    def __init__(self) -> None:
        self.answer = 200
        self.requests = 0
        self.port = 0
        self._spans: list[Span] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def receive(self, path: str, body: bytes) -> None:
        self.requests += 1
        if path != "/v1/traces" or self.answer != 200:
            return
        request = ExportTraceServiceRequest()
        request.ParseFromString(body)
        for resource in request.resource_spans:
            service = _values(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                self._spans += [_span(each, service) for each in scope.spans]

    def all(self) -> list[Span]:
        return list(self._spans)

    def of(self, trace_id: str) -> list[Span]:
        return sorted((span for span in self.all() if span.trace_id == trace_id), key=lambda span: span.start)

    def named(self, name: str) -> list[Span]:
        return [span for span in self.all() if span.name == name]

    def wait_for(self, name: str) -> Span:
        """The first span of this name."""
        return eventually(lambda: self.named(name))[0]


@contextmanager
def collecting() -> Iterator[TraceCollector]:
    """A collector that listens on loopback."""
    collector = TraceCollector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            collector.receive(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(collector.answer)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()


def _span(span: trace_pb2.Span, service: str) -> Span:
    return Span(
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.name,
        trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _values(span.attributes),
        span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        span.trace_state,
        service,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: _value(each.value) for each in attributes}


def _value(value: AnyValue) -> Any:
    return getattr(value, str(value.WhichOneof("value")))
