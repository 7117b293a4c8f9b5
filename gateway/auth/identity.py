"""Say who a request comes from: its address, its API key, and its shopper if they are known already."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Final, cast

from gateway.auth.recent import Recent
from gateway.auth.shopper_tokens import ShopperTokens
from gateway.http import problems
from gateway.http.addresses import Networks, client_address, limited_as, may_pass, peer_of
from gateway.http.message import Handler, Layer, Request, Response, ResponseOrAwaitable, header
from gateway.metrics import Metric, Sample

if TYPE_CHECKING:
    from multidict import MultiMapping

    from gateway.config.policies import Identity

# What a caller is called whose address nobody knows: the connection is gone already.
UNKNOWN: Final = "unknown"
# Whoever makes up keys for us to hash must not make us hash much.
_MOST_KEY_CHARACTERS: Final = 512
# In place of a client's text. The first is falsy, so that one look tells both an unknown and a denied one from the rest.
_DENIED: Final = ""
_PROXY: Final = "proxy"
# What a client remembered by its way takes, besides the text of the way.
_ENTRY_BYTES: Final = 300
_KEY_CHALLENGE: Final = header("WWW-Authenticate", 'ApiKey realm="peakgate"')


def digest_of(key: str) -> str:
    """How an API key is written down: its SHA-256 in hex. A key must have as much chance in it as a digest of it would hide."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


class Callers:
    """Who may call, and what is known of those who did of late.

    Lives as long as the process. `update` takes other policies; what was known under the ones before is forgotten, the counts
    go on. Layers made before an update go on by the policies they were made with: make new ones.
    Raises `ValueError` for a network that is none.
    """

    def __init__(self, identity: Identity, *, most_clients: int = 50_000) -> None:
        self._most_clients = most_clients
        self.denied = 0
        self.unknown_keys = 0
        self._set(identity)

    def _set(self, identity: Identity) -> None:
        trusted, allow, deny = Networks(identity.trusted_proxies), Networks(identity.allow), Networks(identity.deny)
        self.trusted, self._allow, self._deny = trusted, allow, deny
        self.keys: Mapping[str, str] = {key.sha256: key.name for key in identity.api_keys}
        # Clients by peer, and by the way they came to us where the peer is a proxy of ours.
        self.by_peer: Recent[str, str] = Recent(self._most_clients)
        # By size: a caller writes what he likes to the left of what our proxies write.
        self.by_way: Recent[tuple[str, ...], str] = Recent(self._most_clients * _ENTRY_BYTES, weigh=_bytes_of)
        # Names by key as it was sent, so that a digest is made once. It has room for the keys there are, and no others.
        self.known_keys: MutableMapping[str, str] = {}

    def update(self, identity: Identity) -> None:
        """Go by these policies from now on. Raises `ValueError` as the constructor does, and changes nothing then."""
        self._set(identity)

    def snapshot(self) -> Mapping[str, Any]:
        """What is configured, and who was turned away."""
        return {
            "trusted_proxies": len(self.trusted),
            "allow": len(self._allow),
            "deny": len(self._deny),
            "api_keys": sorted(self.keys.values()),
            "clients_remembered": len(self.by_peer) + len(self.by_way),
            "denied": self.denied,
            "unknown_keys": self.unknown_keys,
        }

    def metrics(self) -> Iterable[Metric]:
        """Requests turned away by the lists of addresses, and for their API key."""
        yield Metric(
            "peakgate_identity_refused_total",
            "Requests refused for the address or the API key they came with.",
            "counter",
            [Sample({"reason": "address"}, self.denied), Sample({"reason": "api-key"}, self.unknown_keys)],
        )

    def learn_peer(self, peer: str) -> str:
        """What `by_peer` has for a peer from now on."""
        address = peer_of(peer)
        if address is not None and address in self.trusted:
            client = _PROXY
        elif address is None:
            client = _DENIED if self._allow else UNKNOWN
        else:
            client = limited_as(address) if may_pass(address, self._allow, self._deny) else _DENIED
        self.by_peer.put(peer, client)
        return client

    def learn_way(self, way: tuple[str, ...]) -> str:
        """What `by_way` has for a trusted peer and the lines of `X-Forwarded-For` that it sent."""
        peer = peer_of(way[0])
        assert peer is not None
        address = client_address(peer, ",".join(way[1:]) if len(way) > 1 else None, self.trusted)
        client = limited_as(address) if may_pass(address, self._allow, self._deny) else _DENIED
        self.by_way.put(way, client)
        return client

    def learn_key(self, presented: str) -> str | None:
        """The name of an API key, None if there is no such key.

        Looking digests up, and keys once known, may tell by its time how much of a digest or of a hash was right: neither
        says anything about a key that has the chance in it of 128 bits or more.
        """
        if len(presented) > _MOST_KEY_CHARACTERS:
            return None
        name = self.keys.get(digest_of(presented))
        if name is not None:
            self.known_keys[presented] = name
        return name


def identity(callers: Callers, tokens: ShopperTokens | None = None) -> Layer:
    """Set `client`, `api_key` and, where its token was verified before, `shopper` of each request.

    Refuses an address that the lists do not let in with 403, and an unknown `X-Api-Key` with 401. Never waits: a token that is
    not known yet is left to `authentication`. With nothing configured it costs one look-up.
    """
    by_peer, learn_peer = callers.by_peer.get, callers.learn_peer
    by_way, learn_way = callers.by_way.get, callers.learn_way
    known_keys, learn_key = callers.known_keys.get, callers.learn_key
    has_keys = bool(callers.keys)
    shopper_of = tokens.known if tokens is not None and tokens.is_on else None

    def layer(handler: Handler) -> Handler:
        def identified(request: Request) -> ResponseOrAwaitable:
            peer = request.peer
            client = by_peer(peer)
            if client is None:
                client = learn_peer(peer)
            if client is _PROXY:
                # A request may have several such lines; together they are one list.
                way = (peer, *cast("MultiMapping[str]", request.headers).getall("X-Forwarded-For", ()))
                client = by_way(way)
                if client is None:
                    client = learn_way(way)
            if not client:
                return _deny(callers, request)
            request.client = client
            if has_keys:
                presented = request.headers.get("X-Api-Key")
                if presented is not None:
                    request.api_key = known_keys(presented) or learn_key(presented)
                    if request.api_key is None:
                        return _refuse_key(callers, request)
            if shopper_of is not None:
                authorization = request.headers.get("Authorization")
                if authorization is not None:
                    request.shopper = shopper_of(authorization)
            return handler(request)

        return identified

    return layer


def _bytes_of(way: tuple[str, ...], _client: str) -> int:
    return sum(map(len, way)) + _ENTRY_BYTES


def _deny(callers: Callers, request: Request) -> Response:
    callers.denied += 1
    return problems.response(problems.FORBIDDEN, request.id)


def _refuse_key(callers: Callers, request: Request) -> Response:
    callers.unknown_keys += 1
    return problems.response(
        problems.UNAUTHENTICATED, request.id, {"detail": "There is no such API key."}, header_block=_KEY_CHALLENGE
    )
