"""Refuse callers who ask more than their quota.

The header fields are those of draft-ietf-httpapi-ratelimit-headers-11: `RateLimit-Policy` says what the limits are, and
`RateLimit` how many requests are left of each and in how many seconds there is one more. Both are there on every answer,
refused or not; limits in shadow mode are not told. A refusal is 429 with the draft's problem `quota-exceeded`, whose
`violated-policies` names the limits, and a `Retry-After` that is no earlier than what `RateLimit` says.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple
from zlib import crc32

import orjson

from gateway.config.policies import Limit
from gateway.http import problems
from gateway.http.message import PROBLEM_JSON, Handler, Layer, Request, Response, ResponseOrAwaitable, header
from gateway.ratelimit.quota_batch import Ask, Batch
from gateway.ratelimit.redis_quota import LimitSet, RedisQuota

# What an answer says that this process alone has decided on.
DEGRADED: Final = "limits"
# Clients refused at the same time come back spread over half a window, within these bounds, in seconds.
SPREAD_LEAST_S: Final = 1
SPREAD_MOST_S: Final = 30
RENDERED_MOST: Final = 4_096
_POLICY: Final = b"RateLimit-Policy: "
_STATE: Final = b"RateLimit: "


def rate_limit(
    limits: Sequence[Limit],
    quota: RedisQuota,
    *,
    route: str,
    mark: Callable[[Request, str], None],
    now: Callable[[], float] = time.time,
) -> Layer:
    """Hold the callers of a route to `limits`: all of those that apply to it.

    `route` is its method and template, for limits that count by route. A limit by API key or shopper does not apply to
    requests without one. `mark(request, "limits")` is called where the store was away and this process has decided alone.
    Plain, over the shared state of `quota`: made anew for changed limits.
    """
    if not limits:
        return lambda handler: handler
    limit_set = quota.limits_of(limits, route)
    if all(limit.shadow for limit in limits):
        return _counting(limit_set)
    return _limiting(limit_set, _policy_line(limits), mark, now)


def _limiting(limits: LimitSet, policy: bytes, mark: Callable[[Request, str], None], now: Callable[[], float]) -> Layer:
    caller_of = limits.caller
    lines_of = _lines(policy)

    def layer(handler: Handler) -> Handler:
        def limited(request: Request) -> ResponseOrAwaitable:
            caller = caller_of(request)
            ask = limits.open.get(caller) or limits.ask(request, caller)
            if ask is None:
                return handler(request)
            if ask.batch is None:
                return decided(request, ask, 0)
            return waiting(request, ask, ask.batch, ask.join())

        async def waiting(request: Request, ask: Ask, batch: Batch, place: int) -> Response:
            await batch
            outcome = decided(request, ask, place)
            return outcome if isinstance(outcome, Response) else await outcome

        def decided(request: Request, ask: Ask, place: int) -> ResponseOrAwaitable:
            if ask.is_local:
                mark(request, DEGRADED)
            lines = ask.lines
            if lines is None:
                lines = ask.lines = lines_of(ask)
            request.extra_headers = (
                request.extra_headers + lines
                if _STATE not in request.extra_headers
                else _joined(request.extra_headers, lines)
            )
            return handler(request) if place < ask.granted else _refusal(request, ask, now())

        return limited

    return layer


def _counting(limits: LimitSet) -> Layer:
    """Where all limits are shadows there is nothing to wait for."""
    caller_of = limits.caller

    def layer(handler: Handler) -> Handler:
        def counted(request: Request) -> ResponseOrAwaitable:
            caller = caller_of(request)
            ask = limits.open.get(caller) or limits.ask(request, caller)
            if ask is not None and ask.batch is not None:
                ask.join()
            return handler(request)

        return counted

    return layer


def _policy_line(limits: Sequence[Limit]) -> bytes:
    """The limits as they are told; empty where none are."""
    told = [_policy(limit) for limit in limits if not limit.shadow]
    return header("RateLimit-Policy", ", ".join(told)) if told else b""


def _policy(limit: Limit) -> str:
    # The draft knows whole seconds only, so other windows are told by what they allow in those.
    window_s = math.ceil(limit.window_s)
    quota = max(math.floor(limit.quota * window_s / limit.window_s), 1)
    burst = "" if limit.burst in {None, limit.quota} else f";peakgate-burst={limit.burst}"
    return f'"{limit.name}";q={quota};w={window_s}{burst}'


def _lines(policy: bytes) -> Callable[[Ask], bytes]:
    """What renders the header lines of an ask: how its limits stand after the batch it was part of."""
    # A limit has few states worth telling apart: looked up, one costs a fifth of rendering it.
    rendered: dict[tuple[str, int, int], bytes] = {}

    def lines_of(ask: Ask) -> bytes:
        left, waits_us = ask.left, ask.waits_us
        told = []
        for place, allowance in zip(ask.places, ask.allowances, strict=True):
            limit = allowance.rule.limit
            if limit.shadow:
                continue
            state = (limit.name, left[place], _whole_seconds(waits_us[place]))
            item = rendered.get(state)
            if item is None:
                if len(rendered) >= RENDERED_MOST:
                    rendered.clear()
                item = rendered[state] = b'"%b";r=%d;t=%d' % (limit.name.encode(), *state[1:])
            told.append(item)
        return b"%bRateLimit: %b\r\n" % (policy, b", ".join(told)) if told else b""

    return lines_of


class _Refused(NamedTuple):
    """What all refused requests of an ask are told."""

    body: bytes
    wait_s: int
    window_s: float


def _joined(notes: bytes, lines: bytes) -> bytes:
    """What this limiter tells, after what one before it has told: each field once, as not all clients join them."""
    if not lines:
        return notes
    policy, state = (line.partition(b": ")[2] for line in lines.split(b"\r\n")[:2])
    before, _, told = notes.partition(_POLICY)
    told_policy, _, rest = told.partition(b"\r\n" + _STATE)
    told_state, _, after = rest.partition(b"\r\n")
    return b"".join(
        [before, _POLICY, told_policy, b", ", policy, b"\r\n", _STATE, told_state, b", ", state, b"\r\n", after]
    )


def _refusal(request: Request, ask: Ask, now_s: float) -> Response:
    refused: _Refused = ask.refused or _refused(ask)
    ask.refused = refused
    jitter_s = _jitter_s(request.shopper or request.api_key or request.client, refused.window_s, now_s)
    return Response(
        problems.QUOTA_EXCEEDED.status,
        refused.body + request.id.encode() + b'"}',
        header_block=b"Retry-After: %d\r\n" % (refused.wait_s + jitter_s),
        content_type=PROBLEM_JSON,
    )


def _refused(ask: Ask) -> _Refused:
    """As `problems.response` would say it, up to the request id, which is all that differs."""
    violated = [
        (allowance.rule.limit, ask.waits_us[place])
        for place, allowance in zip(ask.places, ask.allowances, strict=True)
        if not ask.left[place] and not allowance.rule.limit.shadow
    ]
    names = orjson.dumps([limit.name for limit, _ in violated])
    return _Refused(
        b'%b,"violated-policies":%b,"instance":"' % (problems.QUOTA_EXCEEDED.opening_json, names),
        _whole_seconds(max(wait_us for _, wait_us in violated)),
        max(limit.window_s for limit, _ in violated),
    )


def _whole_seconds(us: int) -> int:
    return -(-us // 1_000_000)


def _jitter_s(client: str, window_s: float, now_s: float) -> int:
    """Whole seconds, the same for a client all through a window."""
    spread_s = min(max(int(window_s / 2), SPREAD_LEAST_S), SPREAD_MOST_S)
    return crc32(client.encode(errors="surrogatepass"), int(now_s / window_s) & 0xFFFF_FFFF) % (spread_s + 1)
