"""Which address a request comes from, and whether a list of networks names it.

Only `X-Forwarded-For` is read, and only from peers that are trusted: each proxy appends the address that it was called
from, so the right-most hop that is no proxy of ours is the one that nobody but our own proxies has written. RFC 7239's
`Forwarded` is ignored: balancers that write one of the two pass the other on as the caller sent it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# The request header fields from which an upstream may build addresses; the host comes first.
ADDRESS_FIELDS: Final = ("Host", "X-Forwarded-Proto", "X-Forwarded-Host")
# A way through more proxies than this is none of ours; walking it is work that a caller could make us do.
MOST_HOPS: Final = 32
# An IPv6 customer has at least a /64 and may use any address of it (RFC 6177), so a /64 counts as one client.
_CLIENT_BITS: Final = 64
_MAPPED_BITS: Final = 96
# Some balancers append the port they were called from: `192.0.2.1:4711`, `[2001:db8::1]:4711`, `[2001:db8::1]`.
_WITH_PORT: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::[0-9]{1,5})?")


def parse_address(text: str) -> Address | None:
    """The address that a peer or a hop is written as, with or without a port; None if it is none.

    An IPv4 address mapped into IPv6 is that IPv4 address. One with a zone is none: it means something on one host only.
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
    """A network in CIDR notation, or one address. Raises `ValueError`, with the correction where there is one."""
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
    """A set of networks that tells whether an address lies in one of them: one look for each length of prefix.

    Raises `ValueError` where `parse_network` does.
    """

    def __init__(self, cidrs: Iterable[str] = ()) -> None:
        # By version, then by how many bits of an address do not count.
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
    """The address at the other end of a connection. A link-local one comes with its zone, which is dropped."""
    return parse_address(text.partition("%")[0])


def client_address(peer: Address, forwarded_for: str | None, trusted: Networks) -> Address:
    """The right-most address of the way to us that is no trusted proxy, or the furthest proxy if all are.

    `forwarded_for` is the text of `X-Forwarded-For`, several field lines joined by commas in their order (RFC 9110, 5.3).
    A hop that is no address ends the walk, and so does its maximum length: nothing left of it is believed, and the last
    proxy before it counts as the client.
    """
    client = peer
    if forwarded_for is None or peer not in trusted:
        return client
    for hop in reversed(forwarded_for.rsplit(",", MOST_HOPS)):
        address = parse_address(hop)
        if address is None:
            return client
        client = address
        if client not in trusted:
            return client
    return client


def limited_as(address: Address) -> str:
    """The text under which an address is limited and counted: IPv6 as its /64."""
    if isinstance(address, IPv4Address):
        return str(address)
    return str(IPv6Network((int(address) >> _CLIENT_BITS << _CLIENT_BITS, _CLIENT_BITS)))


def may_pass(address: Address, allow: Networks, deny: Networks) -> bool:
    """Whether the lists let an address in: `deny` wins, and an `allow` that is not empty lets in nobody else."""
    return address not in deny and (not allow or address in allow)
