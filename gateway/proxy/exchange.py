"""One request to an upstream whose body is complete, with its retries."""

from __future__ import annotations

import asyncio

from gateway.config.policies import Forward
from gateway.http.message import Request, Response
from gateway.proxy.connection import Connection
from gateway.proxy.errors import UpstreamFault
from gateway.proxy.outcomes import Outcomes
from gateway.proxy.request_head import RequestHead
from gateway.proxy.retry import is_retryable, is_stale_connection
from gateway.proxy.upstream import ActiveUpstream


class Exchange:
    """Sends the requests of one rule. Awaits futures only."""

    __slots__ = ("_idle_timeout_s", "_max_retries", "_now", "_outcomes", "_upstream")

    def __init__(self, rule: Forward, upstream: ActiveUpstream, outcomes: Outcomes) -> None:
        self._max_retries = rule.retries
        self._idle_timeout_s = rule.idle_timeout_s
        self._upstream = upstream
        self._outcomes = outcomes
        self._now = asyncio.get_running_loop().time

    async def send(self, request: Request, head: RequestHead) -> Response:
        """Send a request, again if that is allowed."""
        upstream, started_at = self._upstream, self._now()
        upstream.budget.count_request()
        timeout_s = head.timeout_s
        deadline = started_at + timeout_s
        timeout_ms = int(timeout_s * 1000)
        retries, had_stale_connection = 0, False
        target = upstream.choose()
        while True:
            connection: Connection | None = None
            try:
                connection = target.pool.take() or await target.pool.obtain(deadline)
                response = await connection.request(
                    head.render(target.address, timeout_ms) + request.body,
                    is_bodiless=request.method == "HEAD",
                    deadline=deadline,
                    idle_timeout_s=self._idle_timeout_s,
                    client=request.client,
                    allows_reuse=head.allows_reuse,
                    interims=request.interims,
                )
            except UpstreamFault as fault:
                self._outcomes.target_failed(target, fault, timeout_s)
                now = self._now()
                left_s = deadline - now
                request.upstream_call = (upstream.name, now - started_at)
                if left_s <= 0 or not is_retryable(request.method, fault):
                    return self._outcomes.failed(request, fault, timeout_s)
                is_stale = is_stale_connection(fault)
                if is_stale and not had_stale_connection:
                    # Once, and outside the budget: no server is at fault when an idle connection times out as it is taken.
                    had_stale_connection = True
                    upstream.retries["free"] += 1
                elif retries < self._max_retries and self._try_retry():
                    retries += 1
                else:
                    return self._outcomes.failed(request, fault, timeout_s)
                target = upstream.choose(None if is_stale else target)
                timeout_ms = max(1, int(left_s * 1000))
            except BaseException:
                request.upstream_call = (upstream.name, self._now() - started_at)
                self._outcomes.abandoned(connection)
                raise
            else:
                elapsed_s = self._now() - started_at
                request.upstream_call = (upstream.name, elapsed_s)
                self._outcomes.responded(target, response, elapsed_s)
                return response

    def _try_retry(self) -> bool:
        is_allowed = self._upstream.budget.try_retry()
        self._upstream.retries["budgeted" if is_allowed else "denied"] += 1
        return is_allowed
