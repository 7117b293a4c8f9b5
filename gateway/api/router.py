"""From method and path to an endpoint: a tree of path segments, walked once per request."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from gateway import problems
from gateway.http import Handler, Request, Response, header

DEFAULT_BODY_LIMIT: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a request ends: its handler, wrapped in all its layers.

    A `hot` handler awaits nothing but futures, so that the short path may run it without a task of its own.
    """

    method: str
    path: str
    handler: Handler
    hot: bool = True
    body_limit: int = DEFAULT_BODY_LIMIT


Match = tuple[Endpoint, tuple[str, ...]]


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
        nodes = {id(node := self._place(endpoint)): node for endpoint in endpoints}
        for node in nodes.values():
            _complete(node)

    def find(self, method: str, path: str) -> Match:
        """The endpoint for a path without its query, with the path's decoded variables."""
        node = self._root
        params: tuple[str, ...] = ()
        for segment in path.split("/")[1:]:
            child = node.children.get(segment)
            if child is None:
                child = node.variable
                if child is None:
                    return self._nowhere, ()
                decoded = _decoded(segment)
                if not decoded:
                    return self._nowhere, ()
                params = (*params, decoded)
            node = child
        return node.endpoints.get(method, node.other), params

    def _place(self, endpoint: Endpoint) -> _Node:
        node = self._root
        for segment in endpoint.path.split("/")[1:]:
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
    allow = header("Allow", ", ".join(sorted([*node.endpoints, "OPTIONS"])))

    async def options(_request: Request) -> Response:
        return Response(204, headers=allow)

    async def not_allowed(request: Request) -> Response:
        return problems.refuse(problems.METHOD_NOT_ALLOWED, request.id, headers=allow)

    path = next(iter(node.endpoints.values())).path
    node.endpoints["OPTIONS"] = Endpoint("OPTIONS", path, options)
    node.other = Endpoint("*", path, not_allowed)


def _not_found() -> Endpoint:
    async def not_found(request: Request) -> Response:
        return problems.refuse(problems.NOT_FOUND, request.id)

    return Endpoint("*", "*", not_found)


def _decoded(segment: str) -> str:
    """The text of a path segment; empty if it is none."""
    if "%" not in segment:
        return segment
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError:
        return ""
