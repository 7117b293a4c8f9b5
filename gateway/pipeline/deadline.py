"""A deadline for each response of a route."""

from __future__ import annotations

import asyncio

from gateway.http import problems
from gateway.http.message import SAFE_METHODS, Handler, Layer, Request, Response, resolve


def deadline(seconds: float) -> Layer:
    """Reject with 503 after `seconds`. For routes with a task of their own: hot ones await the store only, which has its own."""

    def layer(handler: Handler) -> Handler:
        return lambda request: _within(seconds, handler, request)

    return layer


async def _within(seconds: float, handler: Handler, request: Request) -> Response:
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await resolve(handler(request))
    except TimeoutError:
        if not limit.expired():
            raise  # of the handler itself
        facts = None if request.method in SAFE_METHODS else problems.TIMED_OUT_FACTS
        return problems.response(problems.TIMED_OUT, request.id, facts)
