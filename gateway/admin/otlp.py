"""Spans as OpenTelemetry's objects, sent to a collector by its own exporter (OTLP over HTTP, protobuf).

Importing this module imports the SDK, which is slow, and the libraries of an extra.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from primitives.tracing.spans import CLIENT, CONSUMER, INTERNAL, PRODUCER, SERVER, SpanTuple
from primitives.tracing.tracer import EndedTrace

TRACES_PATH: Final = "/v1/traces"
_KINDS: Final = {
    INTERNAL: SpanKind.INTERNAL,
    SERVER: SpanKind.SERVER,
    CLIENT: SpanKind.CLIENT,
    PRODUCER: SpanKind.PRODUCER,
    CONSUMER: SpanKind.CONSUMER,
}
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)


class OtlpExporter:
    """Sends traces to the collector at `endpoint`, such as `http://localhost:4318`.

    Headers, timeout, certificates and compression are those of the variables `OTEL_EXPORTER_OTLP_*`, the name of the service
    is that of `OTEL_SERVICE_NAME`, and `OTEL_RESOURCE_ATTRIBUTES` adds to the resource.
    """

    def __init__(self, endpoint: str, *, version: str) -> None:
        # The failures are counted, and an outage is two lines of ours.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + TRACES_PATH, session=_HeadsOnly())
        self._shutdown: Callable[[], None] = self._exporter.shutdown
        self._resource = _resource(version)
        self._scope = InstrumentationScope("peakgate", version)

    def export(self, traces: Sequence[EndedTrace]) -> bool:
        """Send the traces, and wait for the response; whether the collector has accepted them."""
        spans = [self._span(trace_id, state, span) for trace_id, state, spans in traces for span in spans]
        return self._exporter.export(spans) is SpanExportResult.SUCCESS

    def close(self) -> None:
        """End an attempt that waits for its next repetition."""
        self._shutdown()

    def _span(self, trace_id: str, state: str, span: SpanTuple) -> ReadableSpan:
        span_id, parent_id, name, kind, began_at_ns, ended_at_ns, attributes, error = span
        trace, trace_state = int(trace_id, 16), TraceState.from_header([state]) if state else None
        parent = SpanContext(trace, parent_id, is_remote=kind in {SERVER, CONSUMER}, trace_flags=_SAMPLED)
        return ReadableSpan(
            name=name,
            context=SpanContext(trace, span_id, is_remote=False, trace_flags=_SAMPLED, trace_state=trace_state),
            parent=parent if parent_id else None,
            resource=self._resource,
            attributes={**attributes, "error.type": error} if error else attributes,
            kind=_KINDS[kind],
            status=Status(StatusCode.ERROR) if error else Status(),
            start_time=began_at_ns,
            end_time=ended_at_ns,
            instrumentation_scope=self._scope,
        )


def _resource(version: str) -> Resource:
    """The resource of the environment; the service is `peakgate` where that names none."""
    resource = Resource.create({SERVICE_VERSION: version, SERVICE_INSTANCE_ID: socket.gethostname()})
    if str(resource.attributes.get(SERVICE_NAME, "unknown_service")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "peakgate"}))
    return resource


class _HeadsOnly(requests.Session):
    """Reads no body of a response: a collector that sends an endless one costs no memory."""

    def request(self, *args: Any, **options: Any) -> requests.Response:
        """See `requests.Session.request`."""
        response = super().request(*args, **{**options, "stream": True})
        response.close()
        return response
