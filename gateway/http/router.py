"""The router: a tree of path segments from method and path to an endpoint."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote

from gateway.http import problems
from gateway.http.endpoint import Endpoint
from gateway.http.message import Request, Response, header

Params = tuple[str, ...]
Match = tuple[Endpoint, Params]


class _Node:
    __slots__ = ("children", "endpoints", "other", "prefix", "variable")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.variable: _Node | None = None
        self.endpoints: dict[str, Endpoint] = {}
        # Serves all paths below, except those of a longer prefix.
        self.prefix: Endpoint | None = None
        # Responds to methods that the path does not support.
        self.other = _not_found()


class Router:
    """All endpoints. `HEAD` is served by `GET`; `OPTIONS`, 405 and 404 have endpoints of their own.

    A path that ends with `/*` serves, for any method, all paths below it that have no endpoint; the longest prefix wins.
    The part matched by `*` is its only variable, not decoded.
    """

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._root = _Node()
        self._not_found = _not_found()
        # `OPTIONS *` is about the server as a whole (RFC 9110, 9.3.7); some balancers probe with it.
        server = Endpoint("OPTIONS", "*", lambda _request: Response(204))
        self._has_prefixes = False
        nodes: dict[int, _Node] = {}
        prefixes = []
        for endpoint in (*endpoints, server):
            if endpoint.path.endswith("/*"):
                self._add_prefix(endpoint)
                prefixes.append(endpoint)
            else:
                node = self._add(endpoint)
                nodes[id(node)] = node
        for node in nodes.values():
            _complete(node)
        self.endpoints = [self._not_found, *prefixes]
        for node in nodes.values():
            self.endpoints += [*dict.fromkeys(node.endpoints.values()), node.other]

    def find(self, method: str, path: str) -> Match:
        """The endpoint of a path (without query), and the decoded variables of the path."""
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
        """The longest `/*` prefix of a path without an endpoint, or else the 404 endpoint."""
        if not self._has_prefixes:
            return self._not_found, ()
        node, prefix, start, rest = self._root, None, 0, ""
        for segment in path.split("/")[:-1]:
            child = node.children.get(segment)
            if child is None and ("%" in segment or ";" in segment):
                child = node.children.get(_normalized(segment))
            if child is None:
                break
            node = child
            start += len(segment) + 1
            if node.prefix is not None:
                prefix, rest = node.prefix, path[start:]
        return (prefix, (rest,)) if prefix is not None else (self._not_found, ())

    def _add(self, endpoint: Endpoint) -> _Node:
        node = self._node(endpoint.path)
        node.endpoints[endpoint.method] = endpoint
        return node

    def _add_prefix(self, endpoint: Endpoint) -> None:
        self._node(endpoint.path.removesuffix("/*")).prefix = endpoint
        self._has_prefixes = True

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


def _normalized(segment: str) -> str:
    """A segment as an upstream may interpret it: decoded (RFC 3986, 6.2.2.2), and without parameters (3.3).

    Otherwise `/d%72op/` would match a shorter prefix and bypass the waiting room and limits of `/drop/`.
    """
    return unquote(segment.partition(";")[0])


def _decoded(segment: str) -> str | None:
    """The text of a percent-encoded path segment, None if it is not UTF-8."""
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError:
        return None
