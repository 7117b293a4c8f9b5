"""Which primary of a cluster serves which slots, and the addresses of a cluster in a URL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit, urlunsplit

from store.errors import StoreUnavailable

SCHEMES: Final[Mapping[str, str]] = {"redis+cluster": "redis", "rediss+cluster": "rediss"}
DEFAULT_PORT: Final = 6379
Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Topology:
    """The first and last slot of each range with the address of its primary, and the addresses of all servers."""

    ranges: Sequence[tuple[int, int, Address]]
    servers: frozenset[Address]

    @classmethod
    def parse(cls, reply: Any, *, asked: Address) -> Topology:
        """Read the reply to CLUSTER SLOTS; a server without a name of its own has that of the one asked.

        Raises `StoreUnavailable` where it is none.
        """
        try:
            ranges = [(int(first), int(last), _address(primary, asked)) for first, last, primary, *_ in reply]
            servers = frozenset(_address(server, asked) for _, _, *several in reply for server in several)
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            raise StoreUnavailable(f"the store does not describe its cluster: {reply!r:.200}") from error
        return cls(ranges, servers)

    @property
    def primaries(self) -> frozenset[Address]:
        """The primaries that serve slots."""
        return frozenset(address for _, _, address in self.ranges)


def _address(server: Sequence[Any], asked: Address) -> Address:
    host = server[0].decode() if server[0] else ""
    return (asked[0] if host in {"", "?"} else host, int(server[1]))


def address_in(redirect: str, *, asked: Address) -> Address:
    """The address in the error `MOVED slot host:port` or `ASK slot host:port` of a server."""
    host, _, port = redirect.split(" ")[2].rpartition(":")
    return (host or asked[0], int(port))


@dataclass(frozen=True, slots=True)
class ClusterUrl:
    """`redis+cluster://user:password@host:port,host:port?option=value`: any servers of one cluster, and how to reach all."""

    url: str
    seeds: Sequence[Address]

    @classmethod
    def parse(cls, url: str) -> ClusterUrl:
        """Raises `ValueError` where the address cannot be read; its text shows no password."""
        parts = urlsplit(url)
        if parts.path.strip("/") or "db" in parse_qs(parts.query):
            raise ValueError("cannot read the address of the store: a cluster has one database, which needs no number")
        hosts = parts.netloc.rpartition("@")[2].split(",")
        try:
            return cls(url, [_seed(host) for host in hosts])
        except ValueError:
            raise ValueError(
                "cannot read the address of the store: it must be redis+cluster://host:port,host:port"
            ) from None

    def of(self, address: Address) -> str:
        """The URL of one server."""
        parts = urlsplit(self.url)
        credentials, at, _ = parts.netloc.rpartition("@")
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        server = f"{credentials}{at}{host}:{address[1]}"
        return urlunsplit(parts._replace(scheme=SCHEMES[parts.scheme], netloc=server))


def is_cluster_url(url: str) -> bool:
    """Whether this is the address of a cluster."""
    return url.partition("://")[0] in SCHEMES


def _seed(text: str) -> Address:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError(text)
    return parts.hostname, parts.port or DEFAULT_PORT
