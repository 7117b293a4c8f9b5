"""The state that all connections of a server share: routes, time limits, the response writer, draining."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from time import monotonic
from typing import Final, Protocol

from multidict import istr

from gateway.http.addresses import ADDRESS_FIELDS
from gateway.http.contained import FAILURES
from gateway.http.endpoint import Endpoint
from gateway.http.head_limits import DEFAULT_HEAD_LIMITS, HeadLimits
from gateway.http.message import Handler, Request, Response, ResponseOrAwaitable
from gateway.http.router import Match, Router
from gateway.server.plain_head import PlainHeadReader
from gateway.server.problem_pages import ProblemPages
from gateway.server.request_id import RequestIds
from gateway.server.request_line import RequestLine
from gateway.server.response_writer import ResponseWriter
from gateway.tracing.request_tracer import RequestTracer

_HOST: Final = istr("Host")
AccessLog = Callable[[Endpoint, Request, Response, float], None]
RunUnit = Callable[[Handler, Request], ResponseOrAwaitable]


class EarlyRejecter(Protocol):
    """Rejects requests that are not worth parsing."""

    def response_to(self, data: bytes, host: str) -> bytes | None:
        """The whole response to the request in `data` if it is rejected unparsed, None if it must be parsed."""
        ...


class OpenConnection(Protocol):
    """A connection as the server sees it."""

    def check(self, now: float) -> None:
        """End the connection if its client is too slow, or idle for too long."""
        ...

    def close_if_idle(self) -> None:
        """Close the connection unless a request is received or responded to on it."""
        ...

    def abort(self) -> None:
        """Close the connection at once, with its tasks."""
        ...


class ServerContext:
    """The state that connections share. Times are in seconds."""

    def __init__(
        self,
        router: Router,
        *,
        keepalive_s: float,
        receive_timeout_s: float,
        send_timeout_s: float,
        linger_s: float,
        limits: HeadLimits = DEFAULT_HEAD_LIMITS,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._router = router
        self.access_log: AccessLog | None = None
        # Set while there are requests to reject unparsed.
        self.early_rejecter: EarlyRejecter | None = None
        # Calls a handler as a unit of work. Set while a guard decides units; at other times that would cost for nothing.
        self.run_unit: RunUnit | None = None
        # Where it is None, no request is traced.
        self.tracer: RequestTracer | None = None
        # Where it is None, browsers get JSON as all clients do.
        self.refusal_pages: ProblemPages | None = None
        # How clients last named this server, so that pre-warmed responses have the same cache keys.
        self.last_address: dict[str, str] = {"Host": "localhost"}
        self.ids = RequestIds()
        self.limits = limits
        self.plain_heads = PlainHeadReader(limits)
        self.writer = ResponseWriter()
        # Whether a drain is near: new connections are still served.
        self.is_leaving = False
        self.is_draining = False
        self.keepalive_s = keepalive_s
        self.receive_timeout_s = receive_timeout_s
        self.send_timeout_s = send_timeout_s
        self.linger_s = linger_s
        self.connections: set[OpenConnection] = set()
        # Tasks of handlers and of streamed responses; the loop alone does not hold them.
        self.tasks: set[asyncio.Task[None]] = set()

    @property
    def router(self) -> Router:
        """The routes of the server. They may be replaced while it serves."""
        return self._router

    @router.setter
    def router(self, router: Router) -> None:
        self._router = router
        # They have the routes of the router before.
        self.plain_heads.forget_request_lines()

    def route_of(self, line: RequestLine, headers: Mapping[str, str]) -> Match:
        """The route of a request whose line has none yet. The line remembers it, unless it depends on the host."""
        router = self._router
        if not router.has_hosts:
            route = line.route = router.find(line.method, line.path)
            return route
        route = router.find(line.method, line.path, headers.get(_HOST) or line.host or "")
        if route[0].method != "*":
            line.route = route
        return route

    def handler_of(self, endpoint: Endpoint) -> Handler:
        """The handler of an endpoint, as a unit of work where a guard decides units."""
        run_unit = self.run_unit
        return endpoint.handler if run_unit is None else partial(run_unit, endpoint.handler)

    def record(self, endpoint: Endpoint, request: Request, response: Response) -> None:
        """Count a response and its time, and write the line of the access log that some get. Never raises."""
        self.record_after(endpoint, request, response, monotonic() - request.started_at)

    def record_after(self, endpoint: Endpoint, request: Request, response: Response, elapsed_s: float) -> None:
        """The same for a response that began so many seconds after its request."""
        tracer = self.tracer
        if tracer is not None and (request.trace is not None or response.status >= 500 or elapsed_s >= tracer.slow_s):
            try:
                tracer.end(endpoint, request, response, elapsed_s)
                if request.trace is not None:
                    endpoint.stats.add_exemplar(elapsed_s, request.trace.trace_id)
            except Exception as error:  # noqa: BLE001 - the response is sent all the same
                FAILURES.add("the trace of a request", error)
        try:
            endpoint.stats.add(response.status, elapsed_s)
            if response.problem is not None:
                endpoint.stats.add_problem(response.problem.slug)
        except Exception as error:  # noqa: BLE001 - the response is sent all the same
            FAILURES.add("the statistics of routes", error)
        if self.access_log is not None:
            try:
                self.access_log(endpoint, request, response, elapsed_s)
            except Exception as error:  # noqa: BLE001 - the response is sent all the same
                FAILURES.add("the access log", error)

    def learn_address(self, headers: Mapping[str, str]) -> None:
        """Remember how a client names this server."""
        self.last_address = {name: headers[name] for name in ADDRESS_FIELDS if name in headers}
