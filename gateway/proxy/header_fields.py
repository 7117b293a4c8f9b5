"""What a request becomes on its way to an upstream: which fields go on, which are made anew, and what is refused.

A request that two readers could take for two different things is refused here as well, though the server has refused it
already: whatever reaches an upstream was written by this module, from parts that it has looked at.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Mapping
from typing import Final

from gateway.config.policies import Forward
from gateway.http.message import Request
from gateway.proxy.target import Place

TIMEOUT_FIELD: Final = "Request-Timeout-Ms"

# RFC 9110, 9.3. CONNECT is a proxy's; TRACE would show an upstream's view of secrets to a script (9.3.8).
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BODILESS_METHODS: Final = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._~%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
# With no segment that begins with a dot, nothing in it needs a second look.
_PLAIN_PATH: Final = re.compile(r"/[A-Za-z0-9/._~!$&'()*+,:;@=-]*")
_VISIBLE: Final = re.compile(r"[!-~]*")
_DOT_SEGMENT: Final = re.compile(r"/(?:\.|%2e){1,2}(?=[/;]|$)", re.IGNORECASE)
# A slash, a backslash or a control character in disguise.
_DISGUISED: Final = re.compile(r"%(?:2f|5c|[01][0-9a-f]|7f)", re.IGNORECASE)
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TRACEPARENT: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-((?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?"
)
_IPV4: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_IPV6: Final = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")

# Of one hop (RFC 9110, 7.6.1), or for the gateway alone, or made anew from what is known here.
_DROPPED: Final = frozenset(
    {
        *("keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "trailer"),
        *("transfer-encoding", "content-length", "expect", "x-request-id", "x-real-ip", "http2-settings"),
        *("waiting-room-token", "x-api-key"),
    }
)
_UNDERSTOOD: Final = frozenset(
    {
        *("host", "connection", "cookie", "upgrade", "via", "forwarded", "x-forwarded-for", "x-forwarded-proto"),
        *("x-forwarded-host", "traceparent", "tracestate", TIMEOUT_FIELD.lower()),
    }
)
# What some servers take for the address that was asked for.
_REWRITES: Final = frozenset({"x-original-url", "x-rewrite-url"})
# Cookies of the gateway itself, such as a place in a waiting room.
_OWN_COOKIE: Final = "peakgate_"
_REMEMBERED_MOST: Final = 1_000


class Ambiguous(Exception):
    """The request could be read in more than one way."""


class NotTaken(Exception):
    """A kind of request that is not forwarded."""


class Onward:
    """A request as upstreams get it, but for what depends on the target."""

    __slots__ = ("_fields", "_host", "_method", "_path", "timeout_s")

    def __init__(self, method: str, path: str, host: str, fields: str, timeout_s: float) -> None:
        self._method = method
        self._path = path
        self._host = host
        self._fields = fields
        # Until the head of the answer must have come.
        self.timeout_s = timeout_s

    def to(self, place: Place, timeout_ms: int) -> bytes:
        """The header section for a target that has this long to answer."""
        return (
            f"{self._method} {place.base}{self._path} HTTP/1.1\r\nHost: {self._host or place.authority}\r\n"
            f"{self._fields}Request-Timeout-Ms: {timeout_ms}\r\n\r\n"
        ).encode("utf-8", "surrogateescape")


class Fields:
    """Writes requests for one forwarded prefix.

    `trusts` says of a peer's address whether what it says about the client and the way here is believed; it is asked once
    for each. `scheme` is how peers reach the gateway itself.
    """

    def __init__(
        self,
        rule: Forward,
        *,
        trusts: Callable[[str], bool],
        scheme: str = "http",
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._strips = len(rule.prefix) - 1 if rule.strip_prefix else 0
        self._prefix = rule.prefix
        self._preserves_host = rule.preserve_host
        self._timeout_s = rule.timeout_s
        self._trusts = trusts
        self._scheme = scheme
        # Span ids: eight random digits of this process, then a count.
        self._process = random_bytes(4).hex()
        self._trace = random_bytes(8).hex()
        self._spans = itertools.count(1)
        # By name as it was written: what precedes the value of a field that goes on, and by which name another is known.
        self._passed: dict[str, str] = {}
        self._kept_back: dict[str, str] = {}
        # Hosts, and peers with how `Forwarded` writes them and whether they are believed: there are few, or they come often.
        self._hosts: set[str] = set()
        self._peers: dict[str, tuple[str, bool]] = {}

    def onward(self, request: Request, *, streams: bool) -> Onward:
        """The request for an upstream. Raises `Ambiguous` or `NotTaken`.

        Its body is `request.body`, announced with its length, or comes in chunks where it `streams`.
        """
        if request.method not in METHODS:
            raise NotTaken(f"{request.method} is not forwarded")
        path = self._path(request.path, request.query)
        passed, kept_back = self._passed, self._kept_back
        given: dict[str, str] = {}
        lines = []
        for name, value in request.headers.items():
            if not value.isprintable() and _CONTROL.search(value):
                raise Ambiguous(f"a control character in {name}")
            prefix = passed.get(name)
            if prefix is not None:
                lines.append(f"{prefix}{value}\r\n")
                continue
            known_as = kept_back.get(name)
            if known_as is None:
                known_as = self._learn(name)
                if known_as is None:
                    lines.append(f"{name}: {value}\r\n")
                    continue
            if known_as in given:
                _add(given, known_as, value)
            else:
                given[known_as] = value
        return self._written(request, path, given, lines, streams=streams)

    def _written(
        self, request: Request, path: str, given: dict[str, str], lines: list[str], *, streams: bool
    ) -> Onward:
        if (cookie := given.get("cookie")) is not None and (kept := _others(cookie)):
            lines.append(f"Cookie: {kept}\r\n")
        if "upgrade" in given or given.get("connection", "keep-alive") not in {"keep-alive", "close"}:
            lines = _of_this_hop_removed(given, lines)
        if streams:
            lines.append("Transfer-Encoding: chunked\r\n")
        elif request.body or request.method not in _BODILESS_METHODS:
            lines.append(f"Content-Length: {len(request.body)}\r\n")
        host = given.get("host", "")
        if host not in self._hosts:
            self._check_host(host)
        lines.append(self._way(request.peer, given, host))
        lines.append(self._trace_lines(request.id, given))
        timeout_s = self._timeout_s
        if (asked := given.get("request-timeout-ms")) is not None and asked.isascii() and asked.isdigit():
            # Whoever is in front of us may give up earlier; later than the rule says it gets nothing.
            timeout_s = min(timeout_s, max(1, int(asked[:9])) / 1000)
        return Onward(request.method, path, host if self._preserves_host else "", "".join(lines), timeout_s)

    def _learn(self, name: str) -> str | None:
        """By which name a field is known that does not go on as it is; None where it does."""
        if not _TOKEN.fullmatch(name):
            raise Ambiguous("a field's name that is none")
        lower = name.lower()
        if len(self._passed) + len(self._kept_back) >= _REMEMBERED_MOST:
            self._passed.clear()
            self._kept_back.clear()
        # Many servers take `X_Forwarded_For` for `X-Forwarded-For` (RFC 3875, 4.1.18), which is ours to write. It is dropped.
        read_as = lower.replace("_", "-")
        if read_as in _DROPPED or read_as in _UNDERSTOOD or read_as in _REWRITES or read_as.startswith("x-forwarded-"):
            # A plain str: the parser's own kind is slower to look up, and equal to it.
            self._kept_back[str(name)] = lower
            return lower
        self._passed[str(name)] = f"{name}: "
        return None

    def _check_host(self, host: str) -> None:
        if host and not _HOST.fullmatch(host):
            raise Ambiguous("a Host that is none")
        if len(self._hosts) >= _REMEMBERED_MOST:
            self._hosts.clear()
        self._hosts.add(host)

    # The target of the request

    def _path(self, path: str, query: str) -> str:
        """Path and query as the upstream gets them."""
        if "/." in path or not _PLAIN_PATH.fullmatch(path):
            check_path(path)
        if self._strips:
            if not path.startswith(self._prefix):
                raise Ambiguous("a path outside its prefix")
            path = path[self._strips :]
        if path.startswith("//"):
            raise Ambiguous("a path that could be taken for an authority")
        if not query:
            return path
        if not query.isascii() or not query.isprintable() or " " in query or "#" in query:
            raise Ambiguous("a character in the query that has no place there")
        return f"{path}?{query}"

    # Who asks, and by which way

    def _way(self, peer: str, given: Mapping[str, str], host: str) -> str:
        """`X-Forwarded-*`, `Forwarded` (RFC 7239) and `Via` (RFC 9110, 7.6.3)."""
        node, is_trusted = self._peers.get(peer) or self._learn_peer(peer)
        hop = f'{node};host="{host}";proto={self._scheme}' if host else f"{node};proto={self._scheme}"
        clients, proto, asked_host, others = peer or "unknown", self._scheme, host, ""
        if is_trusted:
            before = given.get("x-forwarded-for")
            said = given.get("forwarded") or (before and _forwarded(before))
            clients = f"{before}, {peer}" if before else peer
            hop = f"{said}, {hop}" if said else hop
            proto = given.get("x-forwarded-proto", proto)
            asked_host = given.get("x-forwarded-host", host)
            others = "".join(f"{name}: {value}\r\n" for name, value in given.items() if _is_of_a_proxy(name))
        via = f"{given['via']}, 1.1 peakgate" if "via" in given else "1.1 peakgate"
        asked = f"X-Forwarded-Host: {asked_host}\r\n" if asked_host else ""
        ours = f"X-Forwarded-For: {clients}\r\nX-Forwarded-Proto: {proto}\r\n{asked}"
        return f"{ours}{others}Forwarded: {hop}\r\nVia: {via}\r\n"

    def _learn_peer(self, peer: str) -> tuple[str, bool]:
        if len(self._peers) >= _REMEMBERED_MOST:
            self._peers.clear()
        known = self._peers[peer] = f"for={_node(peer)}", bool(peer) and self._trusts(peer)
        return known

    def _trace_lines(self, request_id: str, given: Mapping[str, str]) -> str:
        """W3C Trace Context: the same trace, and a span of our own as the parent. `tracestate` belongs to a valid trace."""
        span = f"{self._process}{next(self._spans) & 0xFFFFFFFF:08x}"
        parent = given.get("traceparent")
        if parent is not None:
            found = _TRACEPARENT.fullmatch(parent)
            # Versions to come may carry more, and are answered in the one that is known.
            if found is not None and not (found[4] and found[1] == "00"):
                state = given.get("tracestate")
                kept = f"tracestate: {state}\r\n" if state else ""
                return f"X-Request-Id: {request_id}\r\ntraceparent: 00-{found[2]}-{span}-{found[3]}\r\n{kept}"
        # A trace of our own ends in the request's id, so that each is found by the other.
        trace = request_id if len(request_id) == 32 else f"{self._trace}{request_id:0>16.16}"
        return f"X-Request-Id: {request_id}\r\ntraceparent: 00-{trace}-{span}-00\r\n"


def check_path(path: str) -> None:
    """Raise `Ambiguous` for a path that an upstream might read in another way than the gateway does."""
    if path[:1] != "/" or not _VISIBLE.fullmatch(path):
        raise Ambiguous("a character in the path that has no place there")
    if "\\" in path or "#" in path or "?" in path:
        raise Ambiguous("a character in the path that some take for a separator")
    if _DOT_SEGMENT.search(path):
        raise Ambiguous("a path with dot segments")
    if "%" in path and (_DISGUISED.search(path) or _BROKEN_ESCAPE.search(path)):
        raise Ambiguous("an encoded slash, control character, or no encoding at all in the path")


def _add(given: dict[str, str], name: str, value: str) -> None:
    """Note a field that is understood; lists may come in several lines (RFC 9110, 5.3)."""
    before = given.get(name)
    if before is not None and name == "host":
        raise Ambiguous("several Hosts")
    if before is None:
        given[name] = value
    else:
        given[name] = f"{before}; {value}" if name == "cookie" else f"{before}, {value}"


def _others(cookie: str) -> str:
    """The cookies that are not the gateway's own."""
    if _OWN_COOKIE not in cookie:
        return cookie
    return "; ".join(each for each in map(str.strip, cookie.split(";")) if not each.startswith(_OWN_COOKIE))


def _of_this_hop_removed(given: dict[str, str], lines: list[str]) -> list[str]:
    """Without the fields that `Connection` names. A change of protocol is refused where it matters."""
    options = [option.strip().lower() for option in given.get("connection", "").split(",")]
    if "websocket" in given.get("upgrade", "").lower():
        raise NotTaken("WebSocket is not passed on here")
    named = {option for option in options if option not in {"close", "keep-alive", "upgrade", ""}}
    if not named:
        return lines
    for name in named & {"traceparent", "tracestate", "via", "forwarded"}:
        given.pop(name, None)
    return [line for line in lines if line.partition(":")[0].lower() not in named]


def _is_of_a_proxy(name: str) -> bool:
    """Whether a field is one like `X-Forwarded-Port`, which only a trusted proxy may say and which goes on as it is."""
    return name.startswith("x-forwarded-") and name not in _UNDERSTOOD


def _node(address: str) -> str:
    """An address as `Forwarded` writes it (RFC 7239, 6): IPv6 in brackets and quotes, what is none as `unknown`."""
    if _IPV4.fullmatch(address):
        return address
    return f'"[{address}]"' if _IPV6.fullmatch(address) else "unknown"


def _forwarded(clients: str) -> str:
    """What `X-Forwarded-For` says, as `Forwarded`."""
    if _IPV4.fullmatch(clients):
        return f"for={clients}"
    return ", ".join(f"for={_node(each.strip())}" for each in clients.split(","))
