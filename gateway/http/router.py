"""The router: a tree of path segments from method and path to an endpoint."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote

from gateway.http import problems
from gateway.http.canonical_path import canonical_host, canonical_path
from gateway.http.endpoint import Endpoint
from gateway.http.message import Request, Response, header

Params = tuple[str, ...]
Match = tuple[Endpoint, Params]


class _Node:
    __slots__ = ("children", "endpoints", "other", "variable")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.variable: _Node | None = None
        self.endpoints: dict[str, Endpoint] = {}
        # Responds to methods that the path does not support.
        self.other = _not_found()


class _ForwardNode:
    """A canonical path, or the beginning of one, with the endpoints of all methods. They differ by their hosts."""

    __slots__ = ("children", "exact", "prefixes")

    def __init__(self) -> None:
        self.children: dict[str, _ForwardNode] = {}
        # Serve this path alone.
        self.exact: list[Endpoint] = []
        # Serve this path and all paths below that no other endpoint serves.
        self.prefixes: list[Endpoint] = []


class Router:
    """All endpoints. `HEAD` is served by `GET`; `OPTIONS`, 405 and 404 have endpoints of their own.

    Endpoints of any method, those of forwarded requests, are found by the canonical form of their path, after all others:
    first one of exactly this path, then the longest prefix, which ends with `/*`. Of two with the same path, the one that
    names the host of the request wins.
    """

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._root = _Node()
        self._not_found = _not_found()
        # `OPTIONS *` is about the server as a whole (RFC 9110, 9.3.7); some balancers probe with it.
        server = Endpoint("OPTIONS", "*", lambda _request: Response(204))
        self._forwards = _ForwardNode()
        # Whether an endpoint names its hosts.
        self.has_hosts = False
        nodes: dict[int, _Node] = {}
        forwards = []
        for endpoint in (*endpoints, server):
            if endpoint.method == "*":
                self._add_forward(endpoint)
                forwards.append(endpoint)
            else:
                node = self._add(endpoint)
                nodes[id(node)] = node
        for node in nodes.values():
            _complete(node)
        self._has_forwards = bool(forwards)
        self.endpoints = [self._not_found, *forwards]
        for node in nodes.values():
            self.endpoints += [*dict.fromkeys(node.endpoints.values()), node.other]

    def find(self, method: str, path: str, host: str = "") -> Match:
        """The endpoint of a path (without query), and the decoded variables of the path. `host` is a `Host` field."""
        node = self._root
        params: Params = ()
        for segment in path.split("/"):
            child = node.children.get(segment)
            if child is None:
                child = node.variable
                if child is None or not segment:
                    return self._forward(path, host)
                decoded = _decoded(segment) if "%" in segment else segment
                if decoded is None:
                    return self._forward(path, host)
                params += (decoded,)
            node = child
        endpoint = node.endpoints.get(method)
        if endpoint is not None:
            return endpoint, params
        return (node.other, params) if node.endpoints else self._forward(path, host)

    def _forward(self, path: str, host: str) -> Match:
        """The endpoint of any method for a path that no other endpoint has, or else the 404 endpoint."""
        if not self._has_forwards:
            return self._not_found, ()
        if self.has_hosts:
            host = canonical_host(host)
        node = self._forwards
        found = _of_host(node.prefixes, host)
        segments = canonical_path(path).split("/")
        del segments[0]
        for segment in segments:
            child = node.children.get(segment)
            if child is None:
                break
            node = child
            found = _of_host(node.prefixes, host) or found
        else:
            found = _of_host(node.exact, host) or found
        return found or self._not_found, ()

    def _add(self, endpoint: Endpoint) -> _Node:
        node = self._node(endpoint.path)
        node.endpoints[endpoint.method] = endpoint
        return node

    def _add_forward(self, endpoint: Endpoint) -> None:
        path = endpoint.path[endpoint.path.index("/") :]
        node = self._forwards
        for segment in canonical_path(path.removesuffix("*")).split("/")[1:]:
            node = node.children.setdefault(segment, _ForwardNode())
        same_path = node.prefixes if path.endswith("/*") else node.exact
        same_path.append(endpoint)
        self.has_hosts = self.has_hosts or bool(endpoint.hosts)

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


def _of_host(endpoints: list[Endpoint], host: str) -> Endpoint | None:
    """The endpoint that names the host, else one that serves all hosts."""
    of_all = None
    for endpoint in endpoints:
        if host in endpoint.hosts:
            return endpoint
        if not endpoint.hosts:
            of_all = endpoint
    return of_all


def _decoded(segment: str) -> str | None:
    """The text of a percent-encoded path segment, None if it is not UTF-8."""
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError:
        return None
