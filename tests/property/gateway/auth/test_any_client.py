"""In any sequence of requests each one gets its own client, by the cache as by the rules."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.auth.client_identifier import UNKNOWN, ClientIdentifier
from gateway.auth.identity import identity
from gateway.config.policies import Identity
from gateway.http.addresses import Networks, client_address, is_allowed, peer_of, rate_limit_key
from gateway.http.message import Request, Response

ADDRESSES = st.sampled_from(
    ["10.0.0.1", "10.0.0.2", "192.0.2.7", "198.51.100.1", "2001:db8::1", "2001:db8::2", "", "x"]
)
LINES = st.lists(st.lists(ADDRESSES, min_size=1, max_size=3).map(", ".join), max_size=3)
POLICIES = st.builds(
    Identity,
    trusted_proxies=st.sampled_from([(), ("10.0.0.0/24",), ("10.0.0.1/32", "2001:db8::/32")]),
    deny=st.sampled_from([(), ("192.0.2.0/24",), ("10.0.0.2/32",)]),
    allow=st.sampled_from([(), ("198.51.100.0/24", "10.0.0.0/8")]),
)


def client_of(policy: Identity, peer: str, lines: list[str]) -> str:
    """The client by the rules, without a cache; "" for a denied one."""
    address = peer_of(peer)
    if address is None:
        return "" if policy.allow else UNKNOWN
    client = client_address(address, ",".join(lines) if lines else None, Networks(policy.trusted_proxies))
    return rate_limit_key(client) if is_allowed(client, Networks(policy.allow), Networks(policy.deny)) else ""


@given(policy=POLICIES, requests=st.lists(st.tuples(ADDRESSES, LINES), max_size=30), max_clients=st.integers(1, 20))
def test_a_cached_client_is_never_another_one(
    policy: Identity, requests: list[tuple[str, list[str]]], max_clients: int
) -> None:
    clients = ClientIdentifier(policy, max_clients=max_clients)
    handler = identity(clients)(lambda request: Response(200, request.client.encode()))
    for peer, lines in requests:
        fields = CIMultiDict(("X-Forwarded-For", line) for line in lines)
        response = handler(Request("GET", "/", "", CIMultiDictProxy(fields), b"", "id", (), peer))
        assert isinstance(response, Response)
        client = client_of(policy, peer, lines)
        assert clients.identify(peer, lines) == client
        assert response.status == (200 if client else 403)
        assert not client or response.body == client.encode()
