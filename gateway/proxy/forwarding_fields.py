"""`X-Forwarded-*`, `Forwarded` (RFC 7239) and `Via` (RFC 9110, 7.6.3) of a forwarded request.

A trusted proxy is believed in what it writes itself. Balancers that write `X-Forwarded-For` pass a client's `Forwarded` on
as it came, so that field is believed only where there is no other; and a malformed value is one that no proxy has written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from gateway.http.addresses import parse_address, peer_of
from gateway.proxy.field_rules import INTERPRETED
from primitives.bounded_map import BoundedMap

_MAX_REMEMBERED: Final = 2_000
_OCTET: Final = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4: Final = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
# RFC 7239, 6: a node's name, and its port.
_NODE: Final = re.compile(
    rf"({_OCTET}(?:\.{_OCTET}){{3}}|\[([0-9A-Fa-f:.]+)\]|unknown|_[A-Za-z0-9._-]+)(:(?:[0-9]{{1,5}}|_[A-Za-z0-9._-]+))?",
    re.IGNORECASE,
)
# RFC 7239, 4: with an unclosed quote the list would swallow the hops after it.
_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PAIR: Final = rf'{_WORD}=(?:{_WORD}|"(?:[^"\\]|\\.)*")'
_ELEMENT: Final = rf"{_PAIR}(?:[ \t]*;[ \t]*{_PAIR})*"
_FORWARDED: Final = re.compile(rf"{_ELEMENT}(?:[ \t]*,[ \t]*{_ELEMENT})*")
# Proxies append to these lists as to `X-Forwarded-For`.
_SCHEMES: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?:[ \t]*,[ \t]*[A-Za-z][A-Za-z0-9+.-]*)*")
_PORTS: Final = re.compile(r"[0-9]{1,5}(?:[ \t]*,[ \t]*[0-9]{1,5})*")
_HOST: Final = r"(?:[A-Za-z0-9._~%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
_HOSTS: Final = re.compile(rf"{_HOST}(?:[ \t]*,[ \t]*{_HOST})*")
_PREFIX: Final = r"(?:/[A-Za-z0-9._~!$&'()*+;=:@%-]+)+/?"
_PREFIXES: Final = re.compile(rf"(?:/|{_PREFIX})(?:[ \t]*,[ \t]*{_PREFIX})*")
# Valid without a look at the pattern.
_USUAL_SCHEMES: Final = frozenset({"http", "https"})
_USUAL_PORTS: Final = frozenset({"80", "443"})
_CHECKED: Final = {"x-forwarded-port": _PORTS, "x-forwarded-prefix": _PREFIXES}


class ForwardingFields:
    """`is_trusted` decides whether the forwarding fields of a peer are believed; it is called once for each peer.

    `scheme` is that of the gateway's own connections. `stripped` is the prefix that is removed from paths, without the
    slash at its end: an upstream puts it before the paths in its links.
    """

    __slots__ = ("_is_trusted", "_peers", "_scheme", "_stripped")

    def __init__(self, is_trusted: Callable[[str], bool], scheme: str, stripped: str = "") -> None:
        self._is_trusted = is_trusted
        self._scheme = scheme
        self._stripped = stripped
        # The address of each peer, its `for=`, and whether it is trusted.
        self._peers: BoundedMap[str, tuple[str, str, bool]] = BoundedMap(_MAX_REMEMBERED)

    def lines(self, peer: str, fields: Mapping[str, str], host: str) -> str:
        """The finished lines; `fields` are the interpreted ones of the request, by the name in lower case."""
        known = self._peers.get(peer)
        if known is None:
            known = self._learn(peer)
        clients, node, is_trusted = known
        scheme = proto = self._scheme
        hop = f'{node};host="{host}";proto={scheme}' if host else f"{node};proto={scheme}"
        forwarded_host, others = host, ""
        if is_trusted:
            before = fields.get("x-forwarded-for")
            hops = _forwarded(before) if before else _valid(fields.get("forwarded"), _FORWARDED)
            if before:
                clients = f"{before}, {clients}"
            if hops:
                hop = f"{hops}, {hop}"
            proto = fields.get("x-forwarded-proto", scheme)
            if proto not in _USUAL_SCHEMES and not _SCHEMES.fullmatch(proto):
                proto = scheme
            forwarded_host = _valid(fields.get("x-forwarded-host"), _HOSTS) or host
            others = self._others(fields)
        elif self._stripped:
            others = f"X-Forwarded-Prefix: {self._stripped}\r\n"
        via = fields.get("via")
        via = "1.1 peakgate" if via is None else f"{via}, 1.1 peakgate"
        host_line = f"X-Forwarded-Host: {forwarded_host}\r\n" if forwarded_host else ""
        return (
            f"X-Forwarded-For: {clients}\r\nX-Forwarded-Proto: {proto}\r\n{host_line}{others}"
            f"Forwarded: {hop}\r\nVia: {via}\r\n"
        )

    def _others(self, fields: Mapping[str, str]) -> str:
        """Other lines of a trusted proxy, such as `X-Forwarded-Port`."""
        lines = ""
        prefix = ""
        for name in fields:
            if name in INTERPRETED or not name.startswith("x-forwarded-"):
                continue
            value = fields[name]
            pattern = _CHECKED.get(name)
            if pattern is not None and not ((pattern is _PORTS and value in _USUAL_PORTS) or pattern.fullmatch(value)):
                continue
            if name == "x-forwarded-prefix" and self._stripped:
                # That proxy has stripped its prefix before: all of them are one path.
                prefix = "".join([part.strip(" \t").rstrip("/") for part in value.split(",")])
            else:
                lines = f"{lines}{name}: {value}\r\n"
        return f"{lines}X-Forwarded-Prefix: {prefix}{self._stripped}\r\n" if self._stripped else lines

    def _learn(self, peer: str) -> tuple[str, str, bool]:
        address = peer_of(peer)
        text = "unknown" if address is None else str(address)
        known = text, f"for={_node(text)}", bool(peer) and self._is_trusted(peer)
        self._peers.put(peer, known)
        return known


def _valid(value: str | None, pattern: re.Pattern[str]) -> str:
    """The value, empty if it does not match."""
    return value if value is not None and pattern.fullmatch(value) else ""


def _node(text: str) -> str:
    """An entry of `X-Forwarded-For` in `Forwarded` (RFC 7239, 6); an invalid one is `unknown`."""
    if _IPV4.fullmatch(text):
        return text
    if text[:1] == text[-1:] == '"':
        text = text[1:-1]
    found = _NODE.fullmatch(text)
    if found is None:
        # IPv6 without brackets, which has no port.
        return f'"[{text}]"' if ":" in text and "[" not in text and parse_address(text) is not None else "unknown"
    if found[2] is not None and (":" not in found[2] or parse_address(found[2]) is None):
        return "unknown"
    # A colon and brackets need quotes.
    return f'"{text}"' if ":" in text else text


def _forwarded(clients: str) -> str:
    """The value of `X-Forwarded-For` as one of `Forwarded`."""
    if _IPV4.fullmatch(clients):
        return f"for={clients}"
    return ", ".join([f"for={_node(client.strip())}" for client in clients.split(",")])
