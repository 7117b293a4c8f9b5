from __future__ import annotations

from ipaddress import ip_address

import pytest

from gateway.http.addresses import (
    MAX_HOPS,
    Networks,
    client_address,
    is_allowed,
    parse_address,
    parse_network,
    peer_of,
    rate_limit_key,
)

OURS = Networks(["10.0.0.0/8", "2001:db8:f00d::/48"])
PROXY = ip_address("10.0.0.1")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        (" 192.0.2.7\t", "192.0.2.7"),
        ("192.0.2.7:4711", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:db8::7]:443", "2001:db8::7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("[::ffff:c000:207]:80", "192.0.2.7"),
    ],
)
def test_an_address_is_read_with_or_without_a_port(text: str, address: str) -> None:
    assert parse_address(text) == ip_address(address)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "unknown",
        "_hidden",
        "localhost",
        "-",
        "192.0.2",
        "192.0.2.256",
        "192.0.2.07",
        "3221225991",
        "0x7f.1",
        "192.0.2.7:",
        "192.0.2.7:port",
        "192.0.2.7:123456",
        "192.0.2.7 x",
        "192.0.2.7/24",
        '"192.0.2.7"',
        "[192.0.2.7",
        "192.0.2.7]",
        "[]",
        "[]:80",
        "[2001:db8::7]80",
        "2001:db8::7::",
        ":::",
        "[[::1]]",
        "fe80::1%eth0",
        "[fe80::1%25eth0]:80",
        "١٩٢.0.2.7",
        "192.0.2.7\x00",
        "for=192.0.2.7",
        "\udcff",
    ],
)
def test_an_invalid_address_is_none(text: str) -> None:
    assert parse_address(text) is None


@pytest.mark.parametrize(
    ("forwarded_for", "client"),
    [
        (None, "10.0.0.1"),
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7, 10.9.9.9", "192.0.2.7"),
        ("203.0.113.1, 192.0.2.7", "192.0.2.7"),
        ("10.0.0.9, 192.0.2.7, 10.0.0.2,10.0.0.3", "192.0.2.7"),
        ("10.0.0.9, 10.0.0.8", "10.0.0.9"),
        ("2001:db8::7, 2001:db8:f00d::1", "2001:db8::7"),
        ("::ffff:192.0.2.7, ::ffff:10.0.0.2", "192.0.2.7"),
        ("192.0.2.7:4711, 10.0.0.2:80", "192.0.2.7"),
        # Nothing left of what is no address is believed.
        ("192.0.2.7, unknown", "10.0.0.1"),
        ("192.0.2.7, unknown, 10.0.0.2", "10.0.0.2"),
        ("192.0.2.7, , 10.0.0.2", "10.0.0.2"),
        ("192.0.2.7, fe80::1%eth0, 10.0.0.2", "10.0.0.2"),
        ("", "10.0.0.1"),
        (",", "10.0.0.1"),
        ("for=192.0.2.7", "10.0.0.1"),
    ],
)
def test_the_client_is_the_right_most_hop_that_is_not_ours(forwarded_for: str | None, client: str) -> None:
    assert client_address(PROXY, forwarded_for, OURS) == ip_address(client)


def test_a_peer_that_is_not_ours_is_the_client_whatever_it_says() -> None:
    stranger = ip_address("198.51.100.9")
    assert client_address(stranger, "192.0.2.7", OURS) == stranger
    assert client_address(stranger, "192.0.2.7", Networks()) == stranger


def test_a_way_longer_than_any_of_ours_is_not_walked_to_its_end() -> None:
    ours = ",".join(["10.0.0.2"] * MAX_HOPS)
    assert client_address(PROXY, "192.0.2.7," + ours.removesuffix(",10.0.0.2"), OURS) == ip_address("192.0.2.7")
    assert client_address(PROXY, "192.0.2.7,192.0.2.7," + ours, OURS) == ip_address("10.0.0.2")


def test_the_zone_of_a_link_local_peer_is_dropped() -> None:
    assert peer_of("fe80::1%eth0") == ip_address("fe80::1")
    assert peer_of("::ffff:192.0.2.7") == ip_address("192.0.2.7")
    assert peer_of("") is None


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("::1", "::/64"),
    ],
)
def test_ipv6_counts_as_its_64(address: str, text: str) -> None:
    assert rate_limit_key(ip_address(address)) == text


@pytest.mark.parametrize(
    ("cidr", "network"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("192.0.2.7", "192.0.2.7/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("::1", "::1/128"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
    ],
)
def test_a_network_is_read(cidr: str, network: str) -> None:
    assert str(parse_network(cidr)) == network


@pytest.mark.parametrize(
    ("cidr", "told"),
    [
        ("10.0.0.1/8", "10.0.0.0/8 would be right"),
        ("2001:db8::1/32", "2001:db8::/32 would be right"),
        ("10.0.0.0/33", "neither an address nor a network"),
        ("the office", "neither an address nor a network"),
        ("", "neither an address nor a network"),
        ("fe80::1%eth0", "zone"),
        ("fe80::%eth0/64", "zone"),
    ],
)
def test_an_invalid_network_is_an_error_with_the_right_form(cidr: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_network(cidr)


@pytest.mark.parametrize(
    ("address", "allow", "deny", "passes"),
    [
        ("192.0.2.7", [], [], True),
        ("192.0.2.7", [], ["192.0.2.0/24"], False),
        ("192.0.2.7", [], ["2001:db8::/32"], True),
        ("192.0.2.7", ["192.0.2.0/24"], [], True),
        ("198.51.100.7", ["192.0.2.0/24"], [], False),
        ("2001:db8::7", ["192.0.2.0/24"], [], False),
        ("192.0.2.7", ["192.0.2.0/24"], ["192.0.2.7"], False),
        ("192.0.2.7", ["0.0.0.0/0"], [], True),
    ],
)
def test_deny_wins_and_allow_lets_in_nobody_else(address: str, allow: list[str], deny: list[str], passes: bool) -> None:
    assert is_allowed(ip_address(address), Networks(allow), Networks(deny)) == passes
