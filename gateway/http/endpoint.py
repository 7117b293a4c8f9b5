"""An endpoint: the handler of a route in all its layers, with its properties and statistics."""

from __future__ import annotations

from typing import Final, NamedTuple

from gateway.http.message import Handler
from gateway.http.route_stats import RouteStats

DEFAULT_BODY_LIMIT: Final = 64 * 1024


class Unread(NamedTuple):
    """The values of an early rejection: the criticality, 0 the most critical, and header lines."""

    criticality: int
    lines: bytes


class Endpoint:
    """Where requests of a route end: its handler, wrapped in all its layers.

    A `hot` handler answers at once or awaits nothing but futures, so that the short path may run it without a task of its
    own. One that `streams` takes bodies as they come where they have not come whole.
    """

    __slots__ = ("body_limit", "handler", "hot", "method", "path", "stats", "streams", "unread")

    def __init__(
        self,
        method: str,
        path: str,
        handler: Handler,
        *,
        hot: bool = True,
        body_limit: int = DEFAULT_BODY_LIMIT,
        streams: bool = False,
    ) -> None:
        self.method = method
        self.path = path
        self.handler = handler
        self.hot = hot
        self.body_limit = body_limit
        self.streams = streams
        self.stats = RouteStats()
        # How its requests may be refused before they are read; None where they may not.
        self.unread: Unread | None = None
