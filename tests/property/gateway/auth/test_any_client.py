"""A cached client is the one that an empty cache would identify, in any sequence of requests."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.client_identifier import ClientIdentifier
from gateway.config.policies import Identity

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


@given(policy=POLICIES, requests=st.lists(st.tuples(ADDRESSES, LINES), max_size=30), max_clients=st.integers(1, 20))
def test_a_cached_client_is_never_another_one(
    policy: Identity, requests: list[tuple[str, list[str]]], max_clients: int
) -> None:
    clients = ClientIdentifier(policy, max_clients=max_clients)
    for peer, lines in requests:
        assert clients.identify(peer, lines) == ClientIdentifier(policy).identify(peer, lines)
