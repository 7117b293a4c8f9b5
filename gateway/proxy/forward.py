"""The handler that forwards requests to an upstream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.config.policies import Forward
from gateway.http import problems
from gateway.http.message import Handler, Request, Response, ResponseOrAwaitable, resolve
from gateway.proxy.errors import AmbiguousRequest, NotForwarded
from gateway.proxy.exchange import Exchange
from gateway.proxy.outcomes import Outcomes
from gateway.proxy.ports import NO_GUARD, Guard
from gateway.proxy.request_head import RequestHeads
from gateway.proxy.streamed_exchange import StreamedExchange
from gateway.proxy.upstream import ActiveUpstream
from primitives.tracing.spans import CLIENT, Value, span

_BREAKER_OPEN: Final = {"detail": "The upstream of this path is unavailable. Try again later."}


def forward(
    rule: Forward,
    upstream: ActiveUpstream,
    *,
    guard: Guard = NO_GUARD,
    is_trusted: Callable[[str], bool] = lambda _peer: False,
    scheme: str = "http",
    trace_prefix: str = "",
) -> Handler:
    """A handler that sends requests to `upstream`. Unless the request's body is streamed, it awaits futures only.

    Bodies go on with the framing of the client, however many packets they came in.

    `is_trusted` decides whether the `X-Forwarded-*` and `Forwarded` fields of a peer are believed; `scheme` is that of the
    gateway's own connections; `trace_prefix` is that of `RequestHeads`; the length of bodies is the server's concern. Faults of the upstream return 502, 504 or
    503; an open breaker (`guard`) returns 503. The response is a `StreamedResponse` if it is long, of unknown length, or
    responds to HEAD with the length of a GET.
    """
    heads = RequestHeads(rule, is_trusted=is_trusted, scheme=scheme, trace_prefix=trace_prefix)
    return Forwarding(rule, upstream, guard, heads).handle


class Forwarding:
    """The requests of one rule."""

    __slots__ = ("_exchange", "_guard", "_heads", "_streamed_exchange", "_upstream")

    def __init__(self, rule: Forward, upstream: ActiveUpstream, guard: Guard, heads: RequestHeads) -> None:
        outcomes = Outcomes(upstream, guard, rule.timeout_s)
        self._upstream = upstream
        self._guard = guard
        self._heads = heads
        self._exchange = Exchange(rule, upstream, outcomes)
        self._streamed_exchange = StreamedExchange(rule, upstream, outcomes)

    def handle(self, request: Request) -> ResponseOrAwaitable:
        """The handler."""
        return self._forward(request) if request.trace is None else self._forward_traced(request)

    async def _forward_traced(self, request: Request) -> Response:
        attributes: dict[str, Value] = {"http.request.method": request.method, "peakgate.upstream": self._upstream.name}
        with span(request.method, CLIENT, attributes) as call:
            response = await resolve(self._forward(request))
            call.set("http.response.status_code", response.status)
            if response.status >= 500:
                call.fail(str(response.status))
            return response

    def _forward(self, request: Request) -> ResponseOrAwaitable:
        stream = request.stream
        try:
            head = self._heads.of(request, len(request.body) if stream is None else _announced_length(request))
        except AmbiguousRequest as ambiguity:
            return problems.response(problems.AMBIGUOUS, request.id, {"detail": f"The request has {ambiguity}."})
        except NotForwarded as refusal:
            return problems.response(problems.NOT_IMPLEMENTED, request.id, {"detail": f"{refusal}."})
        if not self._guard.try_enter():
            self._upstream.outcomes["breaker_open"] += 1
            request.upstream_call = (self._upstream.name, 0.0)
            return problems.response(problems.TIMED_OUT, request.id, _BREAKER_OPEN)
        if stream is None:
            return self._exchange.send(request, head)
        return self._streamed_exchange.send(request, head, stream)


def _announced_length(request: Request) -> int | None:
    """The length of a streamed body; None if it is not known. The server has checked these fields."""
    length = request.headers.get("Content-Length")
    return None if length is None or "Transfer-Encoding" in request.headers else int(length)
