"""Identify the client of a request: its address behind trusted proxies, and the name of its API key."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from gateway.http.addresses import Networks, client_address, is_allowed, peer_of, rate_limit_key
from gateway.metrics import Metric, Sample
from primitives.bounded_map import BoundedMap

if TYPE_CHECKING:
    from gateway.config.policies import Identity

# The client of a connection whose address is unknown: it is closed already.
UNKNOWN: Final = "unknown"
# In place of a client that the address lists deny. Falsy, so that one test finds it.
DENIED: Final = ""
# Longer keys are not hashed: clients must not make us hash much.
_MAX_KEY_CHARACTERS: Final = 512
# The memory of a cached client besides the text of its key.
_ENTRY_BYTES: Final = 300


def api_key_digest(key: str) -> str:
    """The form in which an API key is configured: its SHA-256 in hex. A key must be random, 128 bits or more."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


class ClientIdentifier:
    """Identifies clients by the policies, and caches them.

    Lives as long as the process. `update` sets other policies and empties the caches; the counts go on. Layers made
    before an update use the policies they were made with: make new ones.
    Raises `ValueError` for an invalid network.
    """

    def __init__(self, identity: Identity, *, max_clients: int = 50_000) -> None:
        self._max_clients = max_clients
        self.denied = 0
        self.unknown_keys = 0
        self._set(identity)

    def _set(self, identity: Identity) -> None:
        trusted, allow, deny = Networks(identity.trusted_proxies), Networks(identity.allow), Networks(identity.deny)
        self.trusted, self._allow, self._deny = trusted, allow, deny
        self.key_names: Mapping[str, str] = {key.sha256: key.name for key in identity.api_keys}
        # By peer; with trusted proxies by peer and the exact field lines of X-Forwarded-For, so that a client is never
        # taken for another. By size: clients write any text to the left of the part that our proxies write.
        self.by_peer: BoundedMap[str, str] = BoundedMap(self._max_clients)
        self.by_forwarded_for: BoundedMap[tuple[str, ...], str] = BoundedMap(
            self._max_clients * _ENTRY_BYTES, weigh=_bytes_of
        )
        # Names by key as it was sent, so that a key is hashed once. Only configured keys are stored.
        self.names_by_key: dict[str, str] = {}

    def update(self, identity: Identity) -> None:
        """Use these policies from now on. Raises `ValueError` as the constructor does, and changes nothing then."""
        self._set(identity)

    def identify(self, peer: str, forwarded_for: Sequence[str]) -> str:
        """The client of a request that came from `peer` with these field lines of X-Forwarded-For; `DENIED` for none.

        The lines are not read without trusted proxies.
        """
        if not len(self.trusted):
            client = self.by_peer.get(peer)
            return self.identify_peer(peer) if client is None else client
        chain = (peer, *forwarded_for)
        client = self.by_forwarded_for.get(chain)
        return self.identify_forwarded(chain) if client is None else client

    def identify_peer(self, peer: str) -> str:
        """Identify a client by its peer alone, and cache it."""
        client = self._client(peer, ())
        self.by_peer.put(peer, client)
        return client

    def identify_forwarded(self, chain: tuple[str, ...]) -> str:
        """Identify a client by its peer and the field lines of X-Forwarded-For, and cache it."""
        client = self._client(chain[0], chain[1:])
        self.by_forwarded_for.put(chain, client)
        return client

    def _client(self, peer: str, forwarded_for: Sequence[str]) -> str:
        address = peer_of(peer)
        if address is None:
            return DENIED if self._allow else UNKNOWN
        client = client_address(address, ",".join(forwarded_for) if forwarded_for else None, self.trusted)
        return rate_limit_key(client) if is_allowed(client, self._allow, self._deny) else DENIED

    def api_key_name(self, key: str) -> str | None:
        """The name of an API key, None for an unknown one.

        The time of a look-up may reveal how much of a digest was right, which reveals nothing about a key of 128 random
        bits or more.
        """
        if len(key) > _MAX_KEY_CHARACTERS:
            return None
        name = self.key_names.get(api_key_digest(key))
        if name is not None:
            self.names_by_key[key] = name
        return name

    def snapshot(self) -> Mapping[str, Any]:
        """The configured lists by size, cached clients, and denied requests."""
        return {
            "trusted_proxies": len(self.trusted),
            "allow": len(self._allow),
            "deny": len(self._deny),
            "api_keys": sorted(self.key_names.values()),
            "cached_clients": len(self.by_peer) + len(self.by_forwarded_for),
            "denied": self.denied,
            "unknown_keys": self.unknown_keys,
        }

    def metrics(self) -> Iterable[Metric]:
        """Requests denied for their address or their API key."""
        yield Metric(
            "peakgate_identity_denied_total",
            "Requests denied for their address or their API key.",
            "counter",
            [Sample({"reason": "address"}, self.denied), Sample({"reason": "api-key"}, self.unknown_keys)],
        )


def _bytes_of(chain: tuple[str, ...], _client: str) -> int:
    return sum(map(len, chain)) + _ENTRY_BYTES
