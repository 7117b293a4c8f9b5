from __future__ import annotations

import pytest

from store import StoreUnavailable
from store.topology import ClusterUrl, Topology, address_in, is_cluster_url


def test_an_address_names_several_servers_with_common_credentials_and_options() -> None:
    cluster = ClusterUrl.parse("rediss+cluster://me:p%40ss@one:7000,[::1]:7001,three/?ssl_ca_certs=/ca.pem")
    assert cluster.seeds == [("one", 7000), ("::1", 7001), ("three", 6379)]
    assert cluster.of(("other", 1)) == "rediss://me:p%40ss@other:1/?ssl_ca_certs=/ca.pem"
    assert cluster.of(("::1", 1)) == "rediss://me:p%40ss@[::1]:1/?ssl_ca_certs=/ca.pem"


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://",
        "redis+cluster://:secret@a:x",
        "redis+cluster://a:secret@b:1,,c:1",
        "redis+cluster://a:1/secret",
    ],
)
def test_an_address_that_cannot_be_read_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="cannot read the address of the store") as refused:
        ClusterUrl.parse(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["redis+cluster://a:1/3", "redis+cluster://a:1?db=3"])
def test_a_cluster_has_one_database(url: str) -> None:
    with pytest.raises(ValueError, match="one database"):
        ClusterUrl.parse(url)


def test_the_scheme_says_whether_it_is_a_cluster() -> None:
    found = [is_cluster_url(url) for url in ("redis+cluster://a", "rediss+cluster://a", "redis://a", "unix:///a")]
    assert found == [True, True, False, False]


def test_the_topology_has_primaries_and_all_servers() -> None:
    reply = [
        [0, 9, [b"a", 1, b"id", {}], [b"b", 2, b"id", {}]],
        [10, 10, [b"", 3, b"id", {}], [None, 4, b"id", {}], [b"?", 5, b"id", {}]],
    ]
    topology = Topology.parse(reply, asked=("asked", 1))
    assert topology.ranges == [(0, 9, ("a", 1)), (10, 10, ("asked", 3))]
    assert topology.primaries == {("a", 1), ("asked", 3)}
    assert topology.servers == {("a", 1), ("b", 2), ("asked", 3), ("asked", 4), ("asked", 5)}


@pytest.mark.parametrize("reply", [7, [[0]], [[0, 1, []]], [["x", 1, [b"a", 1]]]])
def test_a_reply_that_is_no_topology_is_refused(reply: object) -> None:
    with pytest.raises(StoreUnavailable, match="does not describe its cluster"):
        Topology.parse(reply, asked=("asked", 1))


def test_a_redirect_names_an_address() -> None:
    assert address_in("MOVED 7 host:1", asked=("asked", 2)) == ("host", 1)
    assert address_in("ASK 7 ::1:1", asked=("asked", 2)) == ("::1", 1)
    assert address_in("MOVED 7 :1", asked=("asked", 2)) == ("asked", 1)
