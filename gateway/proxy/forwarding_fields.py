"""`X-Forwarded-*`, `Forwarded` (RFC 7239) and `Via` (RFC 9110, 7.6.3) of a forwarded request."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from gateway.proxy.field_rules import INTERPRETED
from primitives.bounded_map import BoundedMap

_IPV4: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_IPV6: Final = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_MAX_REMEMBERED: Final = 2_000


class ForwardingFields:
    """`is_trusted` decides whether the forwarding fields of a peer are believed; it is called once for each peer.

    `scheme` is that of the gateway's own connections.
    """

    __slots__ = ("_is_trusted", "_peers", "_scheme")

    def __init__(self, is_trusted: Callable[[str], bool], scheme: str) -> None:
        self._is_trusted = is_trusted
        self._scheme = scheme
        # The `for=` of each peer, and whether it is trusted.
        self._peers: BoundedMap[str, tuple[str, bool]] = BoundedMap(_MAX_REMEMBERED)

    def lines(self, peer: str, fields: Mapping[str, str], host: str) -> str:
        """The finished lines; `fields` are the interpreted ones of the request, by the name in lower case."""
        known = self._peers.get(peer)
        if known is None:
            known = self._learn(peer)
        node, is_trusted = known
        scheme = proto = self._scheme
        hop = f'{node};host="{host}";proto={scheme}' if host else f"{node};proto={scheme}"
        clients, forwarded_host, others = peer or "unknown", host, ""
        if is_trusted:
            before = fields.get("x-forwarded-for")
            hops = fields.get("forwarded") or (before and _forwarded(before))
            clients = f"{before}, {peer}" if before else peer
            hop = f"{hops}, {hop}" if hops else hop
            proto = fields.get("x-forwarded-proto", proto)
            forwarded_host = fields.get("x-forwarded-host", host)
            for name in fields:
                # Such as `X-Forwarded-Port`.
                if name not in INTERPRETED and name.startswith("x-forwarded-"):
                    others = f"{others}{name}: {fields[name]}\r\n"
        via = fields.get("via")
        via = "1.1 peakgate" if via is None else f"{via}, 1.1 peakgate"
        host_line = f"X-Forwarded-Host: {forwarded_host}\r\n" if forwarded_host else ""
        return (
            f"X-Forwarded-For: {clients}\r\nX-Forwarded-Proto: {proto}\r\n{host_line}{others}"
            f"Forwarded: {hop}\r\nVia: {via}\r\n"
        )

    def _learn(self, peer: str) -> tuple[str, bool]:
        known = f"for={_node(peer)}", bool(peer) and self._is_trusted(peer)
        self._peers.put(peer, known)
        return known


def _node(address: str) -> str:
    """An address in `Forwarded` (RFC 7239, 6): IPv6 in brackets and quotes, an invalid one as `unknown`."""
    if _IPV4.fullmatch(address):
        return address
    return f'"[{address}]"' if _IPV6.fullmatch(address) else "unknown"


def _forwarded(clients: str) -> str:
    """The value of `X-Forwarded-For` as one of `Forwarded`."""
    if _IPV4.fullmatch(clients):
        return f"for={clients}"
    return ", ".join([f"for={_node(client.strip())}" for client in clients.split(",")])
