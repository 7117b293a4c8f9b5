"""The exporter of traces against collectors over sockets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from gateway.admin.otlp import OtlpExporter
from primitives.tracing.spans import CLIENT, SERVER
from primitives.tracing.tracer import EndedTrace

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACES: list[EndedTrace] = [
    (TRACE, "a=1", [(2, 1, "GET", CLIENT, 10, 20, {"a": 1}, "KeyError"), (1, 0, "root", SERVER, 5, 25, {}, "")])
]


@contextmanager
def collector(received: list[bytes], *, is_endless: bool = False) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()
            try:
                while is_endless:
                    self.wfile.write(b"x" * 65536)
            except OSError:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def test_spans_are_sent_with_their_parents_state_and_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    received: list[bytes] = []
    with collector(received) as url:
        assert OtlpExporter(url + "/", version="1").export(TRACES)
    request = ExportTraceServiceRequest()
    request.ParseFromString(received[0])
    (resource,) = request.resource_spans
    named = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert (named["service.name"], named["deployment.environment.name"]) == ("peakgate", "test")
    call, root = resource.scope_spans[0].spans
    assert (call.trace_id.hex(), call.parent_span_id, call.span_id) == (TRACE, root.span_id, (2).to_bytes(8, "big"))
    assert (call.trace_state, call.start_time_unix_nano, call.end_time_unix_nano) == ("a=1", 10, 20)
    assert {each.key for each in call.attributes} == {"a", "error.type"}
    assert (call.status.code, root.status.code, root.parent_span_id) == (2, 0, b"")


def test_the_body_of_a_response_is_not_read() -> None:
    received: list[bytes] = []
    with collector(received, is_endless=True) as url:
        assert OtlpExporter(url, version="1").export(TRACES)
    assert len(received) == 1
