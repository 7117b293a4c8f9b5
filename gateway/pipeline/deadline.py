"""Give up on an answer that takes too long."""

from __future__ import annotations

import asyncio

from gateway.http import problems
from gateway.http.message import Handler, Layer, Request, Response, resolve


def deadline(seconds: float) -> Layer:
    """Answer 503 after `seconds`. Only for routes with a task of their own: hot ones wait for the store alone, which has its own."""

    def layer(handler: Handler) -> Handler:
        async def limited(request: Request) -> Response:
            limit = asyncio.timeout(seconds)
            try:
                async with limit:
                    return await resolve(handler(request))
            except TimeoutError:
                if not limit.expired():
                    raise  # the handler's own, and its fault
                return problems.response(problems.TIMED_OUT, request.id)

        return limited

    return layer
