"""Traces of requests: a share of them from their begin, those that failed or were slow from their end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextvars import copy_context
from typing import Any, Final

from multidict import MultiMapping, istr

from gateway.http.endpoint import Endpoint
from gateway.http.message import Handler, Request, Response, ResponseOrAwaitable
from gateway.metrics import Metric, Sample
from primitives.tracing.context import TraceParent, carried_state, parse_traceparent
from primitives.tracing.spans import SERVER, Span, Value, enter
from primitives.tracing.tracer import Tracer
from primitives.unit_of_work import in_context

_TRACEPARENT: Final = istr("traceparent")
_TRACESTATE: Final = istr("tracestate")
# The methods of OpenTelemetry's semantic conventions; others are text of clients.
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
_TRACE_ID_LENGTH: Final = 32


class RequestTracer:
    """Begins and ends the traces of the requests of a process.

    A request is sampled by the share of `tracer`, or if its caller records the trace and `follows_caller`. One that was not
    gets a span without children when its response failed (5xx) or was slow. A request that names no trace begins one whose
    id is `trace_prefix`, 16 hex digits of this process, and the id of the request.
    """

    __slots__ = ("_follows_caller", "_trace_prefix", "_tracer", "began", "slow_s")

    def __init__(self, tracer: Tracer, *, trace_prefix: str, follows_caller: bool = False) -> None:
        self.slow_s = tracer.slow_s
        # Traces by why they are recorded.
        self.began: Counter[str] = Counter()
        self._tracer = tracer
        self._trace_prefix = trace_prefix
        self._follows_caller = follows_caller

    def begin(self, endpoint: Endpoint, request: Request) -> Span | None:
        """The span of a request that is sampled, None for another."""
        if not self._tracer.is_drawn() and not (self._follows_caller and _is_recorded(request.headers)):
            return None
        self.began["share"] += 1
        root = request.trace = self._begin(endpoint, request)
        return root

    def end(self, endpoint: Endpoint, request: Request, response: Response, elapsed_s: float) -> None:
        """End the span of a sampled request, or make the one of a request that has failed or was slow."""
        root = request.trace
        is_late = root is None
        if root is None:
            reason = "error" if response.status >= 500 else "slow"
            self.began[reason] += 1
            root = request.trace = self._begin(endpoint, request)
            root.set("peakgate.sampled_by", reason)
        root.set("http.response.status_code", response.status)
        if response.status >= 500:
            root.fail(str(response.status))
        if response.problem is not None:
            root.set("peakgate.problem", response.problem.slug)
        if request.upstream_call is not None:
            root.set("peakgate.upstream", request.upstream_call[0])
        if is_late:
            self._tracer.end_late(root, elapsed_s)
        else:
            self._tracer.end(root)

    def _begin(self, endpoint: Endpoint, request: Request) -> Span:
        method = request.method if request.method in _METHODS else "_OTHER"
        attributes: dict[str, Value] = {
            "http.request.method": method,
            "http.route": endpoint.path,
            "url.scheme": "http",
            "peakgate.request_id": request.id,
        }
        parent = caller_of(request.headers)
        return self._tracer.begin(
            f"{method} {endpoint.path}",
            SERVER,
            parent=parent,
            trace_id=self._trace_prefix + request.id if len(request.id) < _TRACE_ID_LENGTH else request.id,
            state=carried_state(request.headers.get(_TRACESTATE)) if parent is not None else "",
            attributes=attributes,
        )

    def snapshot(self) -> Mapping[str, Any]:
        """See `gateway.metrics.Observed`."""
        return {"traces": dict(self.began), "recorded": self._tracer.recorded, "dropped": self._tracer.dropped}

    def metrics(self) -> Iterable[Metric]:
        """See `gateway.metrics.Observed`."""
        yield Metric(
            "peakgate_traces_total",
            "Requests of which a trace was recorded, by why.",
            "counter",
            [Sample({"reason": reason}, count) for reason, count in self.began.items()],
        )
        spans = {"recorded": self._tracer.recorded, "dropped": self._tracer.dropped}
        yield Metric(
            "peakgate_trace_spans_total",
            "Spans of this process: recorded, or dropped because too many waited for their export.",
            "counter",
            [Sample({"outcome": outcome}, count) for outcome, count in spans.items()],
        )


def run_traced(root: Span, handler: Handler, request: Request) -> ResponseOrAwaitable:
    """Call a handler in a context of its own, in which the span of the request is open."""
    context = copy_context()
    context.run(enter, root)
    outcome = context.run(handler, request)
    return outcome if isinstance(outcome, Response) else in_context(context, outcome)


def caller_of(headers: Mapping[str, str]) -> TraceParent | None:
    """The span of the caller; None without one, and with several, which begin a new trace (W3C Trace Context)."""
    parent = headers.get(_TRACEPARENT)
    if parent is None or (isinstance(headers, MultiMapping) and len(headers.getall(_TRACEPARENT)) != 1):
        return None
    return parse_traceparent(parent)


def _is_recorded(headers: Mapping[str, str]) -> bool:
    caller = caller_of(headers)
    return caller is not None and caller.is_sampled
