"""The address of a client behind trusted proxies, and lists of networks.

Only `X-Forwarded-For` is read, and only from trusted peers. Each proxy appends the address of its peer, so the right-most
hop that is not a trusted proxy was written by a trusted proxy. RFC 7239's `Forwarded` is ignored: balancers that write
one of the two forward the other as the client sent it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# The request header fields from which an upstream may build addresses; the host comes first. The others are those of
# trusted proxies.
ADDRESS_FIELDS: Final = ("Host", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix")
# Bounds the work that a client can cause with a long field.
MAX_HOPS: Final = 32
# An IPv6 customer has at least a /64 and may use any address of it (RFC 6177), so a /64 counts as one client.
_CLIENT_BITS: Final = 64
_MAPPED_BITS: Final = 96
# Some balancers append the port of their peer: `192.0.2.1:4711`, `[2001:db8::1]:4711`, `[2001:db8::1]`.
_WITH_PORT: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::[0-9]{1,5})?")


def parse_address(text: str) -> Address | None:
    """The address of a peer or hop, with or without a port; None if it is invalid.

    An IPv4 address mapped into IPv6 becomes that IPv4 address. A zone is invalid, because it is local to one host.
    """
    text = text.strip(" \t")
    with_port = _WITH_PORT.fullmatch(text)
    if with_port is not None:
        text = with_port[1] or with_port[2]
    elif "%" in text:
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def parse_network(text: str) -> Network:
    """A network in CIDR notation, or one address. Raises `ValueError`, with the correction if there is one."""
    if "%" in text:
        raise ValueError(f"{text!r} names a zone, which networks have none of")
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is neither an address nor a network such as 10.0.0.0/8") from None
    if "/" in text and ip_address(text.partition("/")[0]) != network.network_address:
        raise ValueError(f"{text!r} has bits set beyond its prefix; {network} would be right")
    if isinstance(network, IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
    return network


class Networks:
    """A set of networks. Whether it contains an address takes one look-up for each prefix length.

    Raises `ValueError` where `parse_network` does.
    """

    def __init__(self, cidrs: Iterable[str] = ()) -> None:
        # By version, then by the number of host bits.
        self._known: dict[int, dict[int, set[int]]] = {4: {}, 6: {}}
        self._count = 0
        for network in map(parse_network, cidrs):
            shift = network.max_prefixlen - network.prefixlen
            self._known[network.version].setdefault(shift, set()).add(int(network.network_address) >> shift)
            self._count += 1

    def __len__(self) -> int:
        return self._count

    def __contains__(self, address: Address) -> bool:
        number = int(address)
        return any(number >> shift in known for shift, known in self._known[address.version].items())


def peer_of(text: str) -> Address | None:
    """The address of a peer. The zone of a link-local address is removed."""
    return parse_address(text.partition("%")[0])


def client_address(peer: Address, forwarded_for: str | None, trusted: Networks) -> Address:
    """The right-most hop that is not a trusted proxy, or the left-most one if all are.

    `forwarded_for` is the text of `X-Forwarded-For`, several field lines joined by commas in their order (RFC 9110, 5.3).
    An invalid hop ends the search, as does `MAX_HOPS`: hops left of it are ignored, and the last proxy before it counts as
    the client.
    """
    client = peer
    if forwarded_for is None or peer not in trusted:
        return client
    for hop in reversed(forwarded_for.rsplit(",", MAX_HOPS)):
        address = parse_address(hop)
        if address is None:
            return client
        client = address
        if client not in trusted:
            return client
    return client


def rate_limit_key(address: Address) -> str:
    """The key under which an address is rate-limited and counted: IPv6 as its /64."""
    if isinstance(address, IPv4Address):
        return str(address)
    return str(IPv6Network((int(address) >> _CLIENT_BITS << _CLIENT_BITS, _CLIENT_BITS)))


def is_allowed(address: Address, allow: Networks, deny: Networks) -> bool:
    """Whether the lists allow an address: `deny` wins; if `allow` is not empty, only its addresses are allowed."""
    return address not in deny and (not allow or address in allow)
