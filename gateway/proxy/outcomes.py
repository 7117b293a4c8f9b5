"""Reports the outcome of a forwarded request: to the upstream's counts, its target's health and the breaker."""

from __future__ import annotations

from typing import Final

from gateway.http import problems
from gateway.http.message import Request, Response, StreamedResponse
from gateway.proxy.connection import Connection
from gateway.proxy.errors import UpstreamFault
from gateway.proxy.ports import Guard
from gateway.proxy.retry import is_stale_connection, is_upstream_failure
from gateway.proxy.target import Target
from gateway.proxy.upstream import ActiveUpstream

# These statuses are failures; any other, 500 too, is a response.
_FAILURES: Final = frozenset({502, 503, 504})
_CLASSES: Final = ("", "1xx", "2xx", "3xx", "4xx", "5xx")


class Outcomes:
    """The outcomes of one upstream's requests; `rule_timeout_s` is the longest time that the rule gives one."""

    __slots__ = ("_counts", "_guard", "_rule_timeout_s")

    def __init__(self, upstream: ActiveUpstream, guard: Guard, rule_timeout_s: float) -> None:
        self._counts = upstream.outcomes
        self._guard = guard
        self._rule_timeout_s = rule_timeout_s

    def responded(self, target: Target, response: Response, elapsed_s: float) -> None:
        """The head of the response arrived this long after the request was sent."""
        status = response.status
        self._counts[_CLASSES[status // 100]] += 1
        if status in _FAILURES:
            reason = f"it returned {status}"
            target.failed(reason)
            self._guard.failed(reason)
            return
        if not isinstance(response, StreamedResponse):
            target.health.succeeded()
        self._guard.succeeded(elapsed_s)

    def target_failed(self, target: Target, fault: UpstreamFault, timeout_s: float) -> None:
        """One target failed; the request may be sent again."""
        if not is_stale_connection(fault) and is_upstream_failure(fault, timeout_s, self._rule_timeout_s):
            target.failed(str(fault))

    def failed(self, request: Request, fault: UpstreamFault, timeout_s: float) -> Response:
        """The request failed; returns the response to the client, which says nothing of the upstream's address."""
        self._counts[fault.outcome] += 1
        if is_upstream_failure(fault, timeout_s, self._rule_timeout_s):
            self._guard.failed(str(fault))
        else:
            self._guard.abandoned()
        return problems.response(fault.problem, request.id)

    def abandoned(self, connection: Connection | None) -> None:
        """The client left, or the handler was cancelled."""
        self._counts["abandoned"] += 1
        self._guard.abandoned()
        if connection is not None:
            connection.abort()
