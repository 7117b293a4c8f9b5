from __future__ import annotations

import asyncio

import pytest
from multidict import CIMultiDict

from gateway.http import problems
from gateway.http.endpoint import Endpoint
from gateway.http.message import Request, Response, resolve
from gateway.tracing.request_tracer import RequestTracer, caller_of, run_traced
from primitives.tracing.spans import SERVER, SpanTuple, current_span, span
from primitives.tracing.tracer import Tracer

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
PREFIX = "ab" * 8
SLOW_S = 1.0


class Tracing:
    """A tracer of requests, with the spans that it has recorded."""

    def __init__(self, *, share: float = 0.0, follows_caller: bool = False) -> None:
        self._tracer = Tracer(share=share, slow_s=SLOW_S)
        self.requests = RequestTracer(self._tracer, trace_prefix=PREFIX, follows_caller=follows_caller)

    def recorded(self) -> list[tuple[str, str, SpanTuple]]:
        return [(trace_id, state, each) for trace_id, state, spans in self._tracer.take(1000) for each in spans]


def respond(_request: Request) -> Response:
    return Response(200)


ENDPOINT = Endpoint("GET", "/v1/carts/{cart_id}", respond)


def request(*, method: str = "GET", request_id: str = "ab000001000000ff", **headers: str) -> Request:
    return Request(method, "/v1/carts/secret", "q=1", CIMultiDict(headers), b"", request_id, ("secret",))


def test_a_request_outside_of_the_share_has_no_object_of_a_trace() -> None:
    tracing, plain = Tracing(), request(traceparent=f"00-{TRACE}-{CALLER}-01")
    assert tracing.requests.begin(ENDPOINT, plain) is None
    assert plain.trace is None
    assert tracing.recorded() == []


def test_a_sampled_request_is_a_span_of_its_route() -> None:
    tracing, sampled = Tracing(share=1.0), request()
    assert tracing.requests.begin(ENDPOINT, sampled) is sampled.trace
    tracing.requests.end(ENDPOINT, sampled, Response(200), 0.1)
    ((trace_id, state, root),) = tracing.recorded()
    assert (trace_id, state) == (f"{PREFIX}ab000001000000ff", "")
    assert root[1:4] == (0, "GET /v1/carts/{cart_id}", SERVER)
    assert root[6] == {
        "http.request.method": "GET",
        "http.route": "/v1/carts/{cart_id}",
        "url.scheme": "http",
        "peakgate.request_id": "ab000001000000ff",
        "http.response.status_code": 200,
    }


def test_the_trace_of_a_caller_goes_on_with_its_state() -> None:
    tracing, sampled = Tracing(share=1.0), request(traceparent=f"00-{TRACE}-{CALLER}-00", tracestate="a=1")
    tracing.requests.begin(ENDPOINT, sampled)
    tracing.requests.end(ENDPOINT, sampled, Response(200), 0.1)
    ((trace_id, state, root),) = tracing.recorded()
    assert (trace_id, state, root[1]) == (TRACE, "a=1", int(CALLER, 16))


@pytest.mark.parametrize(
    ("flags", "follows", "is_sampled"), [("01", True, True), ("01", False, False), ("00", True, False)]
)
def test_a_caller_that_records_is_followed_where_that_is_allowed(flags: str, follows: bool, is_sampled: bool) -> None:
    tracing = Tracing(follows_caller=follows)
    root = tracing.requests.begin(ENDPOINT, request(traceparent=f"00-{TRACE}-{CALLER}-{flags}"))
    assert (root is not None) is is_sampled


def test_two_callers_are_none() -> None:
    twice = CIMultiDict([("traceparent", f"00-{TRACE}-{CALLER}-01"), ("traceparent", f"00-{TRACE}-{CALLER}-01")])
    assert caller_of(twice) is None
    assert caller_of(CIMultiDict(traceparent="00-nonsense")) is None


@pytest.mark.parametrize(("status", "seconds", "reason"), [(503, 0.0, "error"), (200, SLOW_S, "slow")])
def test_a_failed_or_slow_request_has_a_span_afterwards(status: int, seconds: float, reason: str) -> None:
    tracing, plain = Tracing(), request(traceparent=f"00-{TRACE}-{CALLER}-00")
    plain.upstream_call = ("shop", 0.5)
    response = Response(status)
    response.problem = problems.OVERLOADED if status == 503 else None
    tracing.requests.end(ENDPOINT, plain, response, seconds)
    ((trace_id, _, root),) = tracing.recorded()
    assert (trace_id, root[1]) == (TRACE, int(CALLER, 16))
    assert root[7] == ("503" if status == 503 else "")
    assert root[6]["peakgate.sampled_by"] == reason
    assert root[6]["peakgate.upstream"] == "shop"
    assert root[6].get("peakgate.problem") == ("overloaded" if status == 503 else None)
    assert tracing.requests.snapshot() == {"traces": {reason: 1}, "recorded": 1, "dropped": 0}
    assert plain.trace is not None


def test_a_method_of_a_clients_own_is_not_repeated() -> None:
    tracing, odd = Tracing(share=1.0), request(method="X" * 500)
    tracing.requests.begin(ENDPOINT, odd)
    tracing.requests.end(ENDPOINT, odd, Response(405), 0.0)
    assert "XX" not in str(tracing.recorded())


async def test_a_handler_has_the_span_open_from_its_begin_to_its_end() -> None:
    async def handle(_request: Request) -> Response:
        before = current_span()
        with span("inner"):
            await asyncio.sleep(0)
        assert current_span() is before is root
        return Response(200)

    tracing, sampled = Tracing(share=1.0), request()
    root = tracing.requests.begin(ENDPOINT, sampled)
    assert root is not None
    response = await resolve(run_traced(root, handle, sampled))
    assert current_span() is None
    tracing.requests.end(ENDPOINT, sampled, response, 0.0)
    inner, outer = (each for _, _, each in tracing.recorded())
    assert inner[1] == outer[0]


def test_a_handler_without_a_wait_leaves_no_span_open() -> None:
    def handle(_request: Request) -> Response:
        assert current_span() is not None
        return Response(200)

    tracing, sampled = Tracing(share=1.0), request()
    root = tracing.requests.begin(ENDPOINT, sampled)
    assert root is not None
    assert isinstance(run_traced(root, handle, sampled), Response)
    assert current_span() is None
