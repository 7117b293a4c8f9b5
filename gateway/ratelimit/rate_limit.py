"""Reject clients that send more requests than their quota.

The header fields are those of draft-ietf-httpapi-ratelimit-headers-11: `RateLimit-Policy` gives the limits, `RateLimit`
the requests that are left of each and the seconds until there is one more. Every response has both, rejected or not;
limits in shadow mode are left out. A rejection is 429 with the draft's problem `quota-exceeded`, whose
`violated-policies` names the limits, and a `Retry-After` that is no earlier than `RateLimit` says.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final
from zlib import crc32

import orjson

from gateway.config.policies import Limit
from gateway.http import problems
from gateway.http.message import Handler, Layer, Request, Response, ResponseOrAwaitable
from gateway.ratelimit.batch import Batch, Group
from gateway.ratelimit.early_read import EarlyRead
from gateway.ratelimit.fields import LimitFields, merge_fields
from gateway.ratelimit.limit_set import LimitSet
from gateway.ratelimit.redis_quota import RedisQuota
from gateway.ratelimit.rejection import Rejection
from primitives.tracing.spans import span

# The part of a response that is degraded where this process has decided alone.
DEGRADED: Final = "limits"
# Clients rejected at the same time come back spread over half a window, within these bounds, in seconds.
MIN_SPREAD_S: Final = 1
MAX_SPREAD_S: Final = 30
_STATE: Final = b"RateLimit: "

Mark = Callable[[Request, str], None]


def rate_limit(
    limits: Sequence[Limit],
    quota: RedisQuota,
    *,
    route: str,
    mark: Mark,
    is_read: bool = False,
    now: Callable[[], float] = time.time,
) -> Layer:
    """Limit the clients of a route by all of `limits` that apply.

    `route` is its method and template, for limits that count by route. A limit by API key or shopper does not apply to
    requests without one. `mark(request, "limits")` is called where the store was away and this process has decided
    alone. The handler of a route that `is_read`, which has no effects and awaits only futures, begins while the store
    decides. The state is in `quota`; the layer is built anew for changed limits.
    """
    if not limits:
        return lambda handler: handler
    limit_set = quota.limits_of(limits, route)
    if all(limit.shadow for limit in limits):
        return lambda handler: _Shadow(limit_set, handler).count
    fields = LimitFields(limits)
    return lambda handler: _Limiter(limit_set, fields, mark, now, handler, is_read).limit


class _Limiter:
    __slots__ = ("_client_of", "_fields", "_handler", "_is_read", "_limits", "_mark", "_now")

    def __init__(  # noqa: PLR0917 - private, and called once
        self,
        limits: LimitSet,
        fields: LimitFields,
        mark: Mark,
        now: Callable[[], float],
        handler: Handler,
        is_read: bool,
    ) -> None:
        self._limits = limits
        self._client_of = limits.client_of
        self._fields = fields
        self._mark = mark
        self._now = now
        self._handler = handler
        self._is_read = is_read

    def limit(self, request: Request) -> ResponseOrAwaitable:
        client = self._client_of(request)
        group = self._limits.open.get(client) or self._limits.group_for(request, client)
        if group is None:
            return self._handler(request)
        batch = group.batch
        if batch is None:
            self._add_fields(request, group)
            return self._handler(request) if group.granted else _rejected(request, group, self._now())
        position = group.join(batch)
        if self._is_read:
            return self._read_early(request, group, batch, position)
        return self._wait(request, group, batch, position)

    async def _wait(self, request: Request, group: Group, batch: Batch, position: int) -> Response:
        await (batch.decision if request.trace is None else _traced(batch))
        self._add_fields(request, group)
        if position >= group.granted:
            return _rejected(request, group, self._now())
        outcome = self._handler(request)
        return outcome if isinstance(outcome, Response) else await outcome

    async def _read_early(self, request: Request, group: Group, batch: Batch, position: int) -> Response:
        extra_headers = request.extra_headers
        read = EarlyRead(self._handler, request)
        try:
            await (batch.decision if request.trace is None else _traced(batch))
            if position < group.granted:
                self._add_fields(request, group)
                return await read.finish()
        finally:
            read.abandon()
        # Without the fields of the response that was begun.
        request.extra_headers = extra_headers
        self._add_fields(request, group)
        return _rejected(request, group, self._now())

    def _add_fields(self, request: Request, group: Group) -> None:
        if group.is_local:
            self._mark(request, DEGRADED)
        fields = group.fields
        if fields is None:
            fields = group.fields = self._fields.of(group)
        extra = request.extra_headers
        # `in` would first take the operand for a number: the exception of that costs more than the search.
        request.extra_headers = extra + fields if extra.find(_STATE) < 0 else merge_fields(extra, fields)


class _Shadow:
    """Where all limits are shadows there is nothing to wait for."""

    __slots__ = ("_handler", "_limits")

    def __init__(self, limits: LimitSet, handler: Handler) -> None:
        self._limits = limits
        self._handler = handler

    def count(self, request: Request) -> ResponseOrAwaitable:
        limits = self._limits
        client = limits.client_of(request)
        group = limits.open.get(client) or limits.group_for(request, client)
        if group is not None and group.batch is not None:
            group.join(group.batch)
        return self._handler(request)


async def _traced(batch: Batch) -> None:
    with span("rate limits"):
        await batch.decision


def _rejected(request: Request, group: Group, now_s: float) -> Response:
    rejection = group.rejection
    if rejection is None:
        rejection = group.rejection = _rejection(group)
    jitter_s = _jitter_s(request.shopper or request.api_key or request.client, rejection.window_s, now_s)
    return problems.encoded(
        problems.QUOTA_EXCEEDED,
        rejection.body + request.id.encode() + b'"}',
        header_block=b"Retry-After: %d\r\n" % (rejection.wait_s + jitter_s),
    )


def _rejection(group: Group) -> Rejection:
    """The response of `problems.response` up to the request id, the only part that differs."""
    names: list[str] = []
    wait_us, window_s = 0, 0.0
    for position, allowance in zip(group.positions, group.allowances, strict=True):
        limit = allowance.rule.limit
        if not group.left[position] and not limit.shadow:
            names.append(limit.name)
            wait_us = max(wait_us, group.waits_us[position])
            window_s = max(window_s, limit.window_s)
    body = b'%b,"violated-policies":%b,"instance":"' % (problems.QUOTA_EXCEEDED.opening_json, orjson.dumps(names))
    return Rejection(body, -(-wait_us // 1_000_000), window_s)


def _jitter_s(client: str, window_s: float, now_s: float) -> int:
    """Whole seconds, the same for a client during a window."""
    spread_s = min(max(int(window_s / 2), MIN_SPREAD_S), MAX_SPREAD_S)
    return crc32(client.encode(errors="surrogatepass"), int(now_s / window_s) & 0xFFFF_FFFF) % (spread_s + 1)
