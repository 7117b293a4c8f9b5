"""Write the header section of a forwarded request, from parts that were checked; nothing is copied unseen.

Ambiguous requests are rejected here as well as by the server.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Final

from gateway.config.policies import Forward
from gateway.http.message import Request
from gateway.proxy.address import Address
from gateway.proxy.errors import AmbiguousRequest, NotForwarded
from gateway.proxy.field_rules import FieldRules
from gateway.proxy.forwarding_fields import ForwardingFields
from gateway.proxy.request_path import forwarded_path
from gateway.proxy.trace_context import TraceContext
from primitives.bounded_map import BoundedMap
from primitives.tracing.spans import current_span

# RFC 9110, 9.3. CONNECT is for tunnels; TRACE would show secrets to a script (9.3.8).
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BODILESS_METHODS: Final = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._~%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
# Cookies of the gateway itself, such as that of a waiting room.
_OWN_COOKIE: Final = "peakgate_"
_MAX_HOSTS: Final = 2_000


class RequestHead:
    """The header section of a forwarded request without the parts that depend on the target."""

    __slots__ = ("_fields", "_host", "_method", "_path", "allows_reuse", "body_length", "timeout_s")

    def __init__(  # noqa: PLR0917 - one per request
        self, method: str, path: str, host: str, fields: str, timeout_s: float, body_length: int | None
    ) -> None:
        self._method = method
        self._path = path
        # Empty for the target's own.
        self._host = host
        self._fields = fields
        # Until the head of the response must arrive.
        self.timeout_s = timeout_s
        # None for a body that is sent in chunks.
        self.body_length = body_length
        # Servers may take the body of a request that usually has none for the next request (RFC 9110, 9.3.1).
        self.allows_reuse = body_length == 0 or method not in _BODILESS_METHODS

    def render(self, address: Address, timeout_ms: int) -> bytes:
        """The section for a target that has so much time to respond."""
        return (
            f"{self._method} {address.base}{self._path} HTTP/1.1\r\nHost: {self._host or address.authority}\r\n"
            f"{self._fields}Request-Timeout-Ms: {timeout_ms}\r\n\r\n"
        ).encode("utf-8", "surrogateescape")


class RequestHeads:
    """Writes the heads of one forwarded prefix. For `is_trusted` and `scheme` see `ForwardingFields`.

    The id of a trace that begins here is `trace_prefix`, 16 hex digits, and the id of the request.
    """

    __slots__ = (
        "_forwarding",
        "_hosts",
        "_prefix",
        "_preserves_host",
        "_rules",
        "_strip_chars",
        "_timeout_s",
        "_trace_context",
    )

    def __init__(
        self,
        rule: Forward,
        *,
        is_trusted: Callable[[str], bool],
        scheme: str = "http",
        random_bytes: Callable[[int], bytes] = os.urandom,
        trace_prefix: str = "",
    ) -> None:
        self._prefix = rule.prefix or ""
        self._strip_chars = len(self._prefix) - 1 if rule.strip_prefix else 0
        self._preserves_host = rule.preserve_host
        self._timeout_s = rule.timeout_s
        self._rules = FieldRules()
        self._forwarding = ForwardingFields(is_trusted, scheme, stripped=self._prefix[: self._strip_chars])
        self._trace_context = TraceContext(random_bytes, trace_prefix)
        # Valid hosts.
        self._hosts: BoundedMap[str, bool] = BoundedMap(_MAX_HOSTS)

    def of(self, request: Request, body_length: int | None) -> RequestHead:
        """The head of a request with a body of this length, or of an unknown one (None), which is sent in chunks.

        Raises `AmbiguousRequest` or `NotForwarded`.
        """
        if request.method not in METHODS:
            raise NotForwarded(f"{request.method} is not forwarded")
        path = forwarded_path(request.path, request.query, self._prefix, self._strip_chars)
        rules = self._rules
        known = rules.known
        fields: dict[str, str] = {}
        lines: list[str] = []
        for name, value in request.headers.items():
            if not value.isprintable() and _CONTROL.search(value):
                raise AmbiguousRequest(f"a control character in {name}")
            rule = known.get(name)
            if rule is None:
                rule = rules.learn(name)
            if rule[-1] == " ":
                lines.append(f"{rule}{value}\r\n")
            elif rule in fields:
                _add(fields, rule, value)
            else:
                fields[rule] = value
        return self._write(request, path, fields, lines, body_length)

    def _write(
        self, request: Request, path: str, fields: dict[str, str], lines: list[str], body_length: int | None
    ) -> RequestHead:
        cookie = fields.get("cookie")
        if cookie is not None and (cookie := _without_own(cookie)):
            lines.append(f"Cookie: {cookie}\r\n")
        if "upgrade" in fields or fields.get("connection", "keep-alive") not in {"keep-alive", "close"}:
            lines = _without_hop_by_hop(fields, lines)
        if body_length is None:
            lines.append("Transfer-Encoding: chunked\r\n")
        elif body_length or request.method not in _BODILESS_METHODS:
            lines.append(f"Content-Length: {body_length}\r\n")
        host = fields.get("host", "")
        if self._hosts.get(host) is None:
            self._check_host(host)
        lines.append(self._forwarding.lines(request.peer, fields, host))
        call = current_span() if request.trace is not None else None
        lines.append(self._trace_context.lines(request.id, fields, call))
        timeout_s = self._timeout_s
        asked = fields.get("request-timeout-ms")
        if asked is not None and asked.isascii() and asked.isdigit():
            # A client may give up earlier than the rule says, never later.
            timeout_s = min(timeout_s, max(1, int(asked[:9])) / 1000)
        own_host = host if self._preserves_host else ""
        return RequestHead(request.method, path, own_host, "".join(lines), timeout_s, body_length)

    def _check_host(self, host: str) -> None:
        if host and not _HOST.fullmatch(host):
            raise AmbiguousRequest("an invalid Host")
        self._hosts.put(host, True)


def _add(fields: dict[str, str], name: str, value: str) -> None:
    """Add another line of an interpreted field (RFC 9110, 5.3)."""
    if name == "host":
        raise AmbiguousRequest("several Hosts")
    if name == "traceparent":
        # Several are invalid, whatever they are (W3C Trace Context).
        fields[name] = ""
        return
    separator = "; " if name == "cookie" else ", "
    fields[name] = f"{fields[name]}{separator}{value}"


def _without_own(cookie: str) -> str:
    """The cookies that are not the gateway's own."""
    if _OWN_COOKIE not in cookie:
        return cookie
    return "; ".join([pair for pair in map(str.strip, cookie.split(";")) if not pair.startswith(_OWN_COOKIE)])


def _without_hop_by_hop(fields: dict[str, str], lines: list[str]) -> list[str]:
    """The lines without the fields that `Connection` names. Raises `NotForwarded` for WebSocket."""
    options = [option.strip().lower() for option in fields.get("connection", "").split(",")]
    if "websocket" in fields.get("upgrade", "").lower():
        raise NotForwarded("WebSocket is not forwarded")
    named = {option for option in options if option not in {"close", "keep-alive", "upgrade", ""}}
    if not named:
        return lines
    for name in named & {"traceparent", "tracestate", "via", "forwarded"}:
        fields.pop(name, None)
    return [line for line in lines if line.partition(":")[0].lower() not in named]
