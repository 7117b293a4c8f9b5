"""An endpoint: the handler of a route in all its layers, with its properties and statistics."""

from __future__ import annotations

from typing import Final

from gateway.http.message import Handler
from gateway.http.route_stats import RouteStats

DEFAULT_BODY_LIMIT: Final = 64 * 1024


class EarlyRejection:
    """The properties of requests that may be rejected unparsed: their criticality, 0 the most critical, and header lines."""

    __slots__ = ("criticality", "header_block")

    def __init__(self, criticality: int, header_block: bytes) -> None:
        self.criticality = criticality
        self.header_block = header_block


class Endpoint:
    """The handler of a route, wrapped in all its layers.

    A `hot` handler returns a response or awaits only futures, so that the server runs it without a task of its own. A
    handler that `streams` gets a body longer than `stream_above` bytes while it is received; any other body is received
    whole before the handler is called. The method `*` is any method. `path` is that of its route; the first of its hosts
    stands before it.
    """

    __slots__ = (
        "body_limit",
        "early_reject",
        "handler",
        "hosts",
        "hot",
        "method",
        "path",
        "stats",
        "stream_above",
        "streams",
    )

    def __init__(
        self,
        method: str,
        path: str,
        handler: Handler,
        *,
        hot: bool = True,
        body_limit: int = DEFAULT_BODY_LIMIT,
        stream_above: int | None = None,
        hosts: tuple[str, ...] = (),
    ) -> None:
        self.method = method
        self.path = path
        self.handler = handler
        self.hot = hot
        self.body_limit = body_limit
        self.streams = stream_above is not None
        self.stream_above = body_limit if stream_above is None else stream_above
        # The canonical names of the hosts that it serves; all if there are none.
        self.hosts = hosts
        self.stats = RouteStats()
        # None where requests may not be rejected unparsed.
        self.early_reject: EarlyRejection | None = None
