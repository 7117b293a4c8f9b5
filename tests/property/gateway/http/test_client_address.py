"""What a caller writes never changes who they are taken for."""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import example, given
from hypothesis import strategies as st

from gateway.http.addresses import Address, Networks, client_address, parse_address, rate_limit_key

OURS = Networks(["10.0.0.0/8", "fd00::/8"])
ADDRESSES = st.ip_addresses()
STRANGERS = ADDRESSES.map(lambda found: parse_address(str(found)) or found).filter(lambda found: found not in OURS)
PROXIES = st.one_of(st.ip_addresses(network="10.0.0.0/8"), st.ip_addresses(network="fd00::/8"))
ANYTHING = st.text(st.characters(codec="latin-1"), max_size=60)


@given(peer=STRANGERS, said=ANYTHING)
def test_forwarded_fields_of_untrusted_peers_never_matter(peer: Address, said: str) -> None:
    assert client_address(peer, said, OURS) == peer


@given(said=ANYTHING, way=st.lists(PROXIES, max_size=5), client=STRANGERS)
@example(said="192.0.2.7,", way=[ip_address("10.0.0.2")], client=ip_address("192.0.2.8"))
def test_hops_left_of_the_client_never_matter(said: str, way: list[Address], client: Address) -> None:
    written = ", ".join(map(str, [client, *way]))
    assert client_address(ip_address("10.0.0.1"), f"{said},{written}", OURS) == client


@given(said=ANYTHING, way=st.lists(st.one_of(PROXIES, STRANGERS, st.just("unknown"), ANYTHING), min_size=1, max_size=6))
def test_prepended_hops_matter_only_behind_a_chain_of_proxies_alone(said: str, way: list[object]) -> None:
    peer, written = ip_address("10.0.0.1"), ",".join(map(str, way))
    before = client_address(peer, written, OURS)
    hops = [parse_address(hop) for hop in written.split(",")]
    if not all(hop is not None and hop in OURS for hop in hops):
        assert client_address(peer, f"{said},{written}", OURS) == before


@given(text=ANYTHING)
def test_reading_an_address_never_fails(text: str) -> None:
    address = parse_address(text)
    assert address is None or parse_address(str(address)) == address


@given(peer=ADDRESSES, said=st.one_of(st.none(), ANYTHING))
def test_every_client_has_a_text_to_be_limited_by(peer: Address, said: str | None) -> None:
    text = rate_limit_key(client_address(peer, said, OURS))
    assert text.isascii()
    assert text.isprintable()
    assert 0 < len(text) <= 43
