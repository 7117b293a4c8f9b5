"""From method and path to an endpoint: a tree of path segments, walked once per request."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote

from gateway.http import problems
from gateway.http.endpoint import Endpoint
from gateway.http.message import Request, Response, header

Params = tuple[str, ...]
Match = tuple[Endpoint, Params]


class _Node:
    __slots__ = ("children", "endpoints", "other", "rest", "variable")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.variable: _Node | None = None
        self.endpoints: dict[str, Endpoint] = {}
        # Takes all paths below, unless a nearer one does.
        self.rest: Endpoint | None = None
        # Answers every method that the path does not take.
        self.other = _not_found()


class Router:
    """All endpoints. `HEAD` goes with `GET`; `OPTIONS`, 405 and 404 have endpoints of their own.

    A path that ends with `/*` takes, with any method, all paths below it without an endpoint of their own; the longest wins.
    The part matched by `*` is its only variable, as it was sent.
    """

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._root = _Node()
        self._nowhere = _not_found()
        # `OPTIONS *` asks after the server itself (RFC 9110, 9.3.7); some balancers probe with it.
        server = Endpoint("OPTIONS", "*", lambda _request: Response(204))
        self._has_rest = False
        nodes: dict[int, _Node] = {}
        rests = []
        for endpoint in (*endpoints, server):
            if endpoint.path.endswith("/*"):
                self._place_rest(endpoint)
                rests.append(endpoint)
            else:
                node = self._place(endpoint)
                nodes[id(node)] = node
        for node in nodes.values():
            _complete(node)
        self.endpoints = [self._nowhere, *rests]
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
                    return self._below(path)
                decoded = _decoded(segment) if "%" in segment else segment
                if decoded is None:
                    return self._below(path)
                params += (decoded,)
            node = child
        endpoint = node.endpoints.get(method)
        if endpoint is not None:
            return endpoint, params
        return (node.other, params) if node.endpoints else self._below(path)

    def _below(self, path: str) -> Match:
        """The nearest `/*` above a path that has no endpoint of its own, else the one that is not found."""
        if not self._has_rest:
            return self._nowhere, ()
        node, found, start, rest = self._root, None, 0, ""
        for segment in path.split("/")[:-1]:
            child = node.children.get(segment)
            if child is None and ("%" in segment or ";" in segment):
                child = node.children.get(_bare(segment))
            if child is None:
                break
            node = child
            start += len(segment) + 1
            if node.rest is not None:
                found, rest = node.rest, path[start:]
        return (found, (rest,)) if found is not None else (self._nowhere, ())

    def _place(self, endpoint: Endpoint) -> _Node:
        node = self._node(endpoint.path)
        node.endpoints[endpoint.method] = endpoint
        return node

    def _place_rest(self, endpoint: Endpoint) -> None:
        self._node(endpoint.path.removesuffix("/*")).rest = endpoint
        self._has_rest = True

    def _node(self, path: str) -> _Node:
        node = self._root
        for segment in path.split("/"):
            if segment.startswith("{"):
                node.variable = node.variable or _Node()
                node = node.variable
            else:
                node = node.children.setdefault(segment, _Node())
        return node


def _complete(node: _Node) -> None:
    """Add HEAD, OPTIONS and 405 to a path."""
    if "GET" in node.endpoints:
        node.endpoints["HEAD"] = node.endpoints["GET"]
    allow = header("Allow", ", ".join(sorted({*node.endpoints, "OPTIONS"})))

    def options(_request: Request) -> Response:
        return Response(204, header_block=allow)

    def not_allowed(request: Request) -> Response:
        return problems.response(problems.METHOD_NOT_ALLOWED, request.id, header_block=allow)

    path = next(iter(node.endpoints.values())).path
    node.endpoints["OPTIONS"] = Endpoint("OPTIONS", path, options)
    node.other = Endpoint("*", path, not_allowed)


def _not_found() -> Endpoint:
    def not_found(request: Request) -> Response:
        return problems.response(problems.NOT_FOUND, request.id)

    return Endpoint("*", "*", not_found)


def _bare(segment: str) -> str:
    """A segment as servers may read it: decoded (RFC 3986, 6.2.2.2), and without parameters (3.3).

    Else `/d%72op/` would go by a wider prefix, past the waiting room and limits of `/drop/`, to an upstream that reads both alike.
    """
    return unquote(segment.partition(";")[0])


def _decoded(segment: str) -> str | None:
    """The text of a percent-encoded path segment, None if it is none."""
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError:
        return None
