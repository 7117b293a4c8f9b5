"""From method and path to an endpoint: a tree of path segments, walked once per request."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import unquote

from gateway import problems
from gateway.http import Handler, Request, Response, header

DEFAULT_BODY_LIMIT: Final = 64 * 1024


class Endpoint:
    """Where requests of a route end: its handler, wrapped in all its layers.

    A `hot` handler awaits nothing but futures, so that the short path may run it without a task of its own. One that
    awaits nothing at all is given as `instant` instead. `answers` counts its answers by status.
    """

    __slots__ = ("answers", "body_limit", "handler", "hot", "instant", "method", "path")

    def __init__(
        self,
        method: str,
        path: str,
        handler: Handler | None = None,
        *,
        instant: Callable[[Request], Response] | None = None,
        hot: bool = True,
        body_limit: int = DEFAULT_BODY_LIMIT,
    ) -> None:
        self.method = method
        self.path = path
        self.handler = handler if handler is not None else _awaited(instant)
        self.instant = instant
        self.hot = hot
        self.body_limit = body_limit
        self.answers: dict[int, int] = {}

    def count(self, status: int) -> None:
        """Note an answer."""
        self.answers[status] = self.answers.get(status, 0) + 1


def _awaited(instant: Callable[[Request], Response] | None) -> Handler:
    if instant is None:
        raise ValueError("an endpoint needs a handler, instant or not")

    async def handler(request: Request) -> Response:
        return instant(request)

    return handler


Params = tuple[str, ...]
Match = tuple[Endpoint, Params]


class _Node:
    __slots__ = ("children", "endpoints", "other", "variable")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.variable: _Node | None = None
        self.endpoints: dict[str, Endpoint] = {}
        # Answers every method that the path does not take.
        self.other = _not_found()


class Router:
    """All endpoints. `HEAD` goes with `GET`; `OPTIONS`, 405 and 404 have endpoints of their own."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._root = _Node()
        self._nowhere = _not_found()
        # `OPTIONS *` asks after the server itself (RFC 9110, 9.3.7); some balancers probe with it.
        server = Endpoint("OPTIONS", "*", instant=lambda _request: Response(204))
        nodes = {id(node := self._place(endpoint)): node for endpoint in (*endpoints, server)}
        for node in nodes.values():
            _complete(node)
        self.endpoints = [self._nowhere]
        for node in nodes.values():
            self.endpoints += [*dict.fromkeys(node.endpoints.values()), node.other]

    def find(self, method: str, path: str) -> Match:
        """The endpoint for a path without its query, with the path's decoded variables."""
        node = self._root
        params: Params = ()
        for segment in path.split("/"):
            child = node.children.get(segment)
            if child is None:
                child = node.variable
                if child is None or not segment:
                    return self._nowhere, ()
                decoded = _decoded(segment) if "%" in segment else segment
                if decoded is None:
                    return self._nowhere, ()
                params += (decoded,)
            node = child
        return node.endpoints.get(method, node.other), params

    def _place(self, endpoint: Endpoint) -> _Node:
        node = self._root
        for segment in endpoint.path.split("/"):
            if segment.startswith("{"):
                node.variable = node.variable or _Node()
                node = node.variable
            else:
                node = node.children.setdefault(segment, _Node())
        node.endpoints[endpoint.method] = endpoint
        return node


def _complete(node: _Node) -> None:
    """Add what every path answers besides its own methods."""
    if "GET" in node.endpoints:
        node.endpoints["HEAD"] = node.endpoints["GET"]
    allow = header("Allow", ", ".join(sorted({*node.endpoints, "OPTIONS"})))

    def options(_request: Request) -> Response:
        return Response(204, headers=allow)

    def not_allowed(request: Request) -> Response:
        return problems.refuse(problems.METHOD_NOT_ALLOWED, request.id, headers=allow)

    path = next(iter(node.endpoints.values())).path
    node.endpoints["OPTIONS"] = Endpoint("OPTIONS", path, instant=options)
    node.other = Endpoint("*", path, instant=not_allowed)


def _not_found() -> Endpoint:
    def not_found(request: Request) -> Response:
        return problems.refuse(problems.NOT_FOUND, request.id)

    return Endpoint("*", "*", instant=not_found)


def _decoded(segment: str) -> str | None:
    """The text of a percent-encoded path segment, None if it is none."""
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError:
        return None
