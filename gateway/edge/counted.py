"""Count the answers of each route by status."""

from __future__ import annotations

from collections import Counter

from gateway.http import Handler, Layer, Request, Response

Counts = Counter[tuple[str, int]]


def counted(counts: Counts, route: str) -> Layer:
    """Add one to `counts[route, status]` for every answer; `route` is a template, so there are few of them."""

    def layer(handler: Handler) -> Handler:
        async def count(request: Request) -> Response:
            response = await handler(request)
            counts[route, response.status] += 1
            return response

        return count

    return layer
