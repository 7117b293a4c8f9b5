"""A store of somebody else: a user with the documented permissions is enough, and a store that breaks promises is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.harness.store_pair import StoreServer, store_server
from gateway.prerequisites.permissions import acl_rules
from tests.e2e.running_shop import CATALOGUE, RunningShop, eventually, peakgate
from tests.e2e.surroundings import Kept, open_shop

POLICIES = """
[[limits]]
name = "per-client"
by = "address"
quota = 100000
window_s = 3600

[[rooms]]
name = "sale"
routes = ["/v1/checkout"]
max_active = 100
admissions_per_s = 50
"""
SKU = "85123A"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StoreServer]:
    with store_server(tmp_path / "store", "--appendonly", "yes") as running:
        yield running


def url_of_user(server: StoreServer, *rules: str) -> str:
    server.command("ACL", "SETUSER", "till", "reset", "on", ">penny", *" ".join(rules).split())
    return f"redis://till:penny@127.0.0.1:{server.port}"


def refusal(tmp_path: Path, url: str, *options: str) -> str:
    words = ("serve", "--port", "0", "--data-dir", str(tmp_path / "data"), "--store-url", url, *options)
    refused = peakgate(*words)
    assert refused.returncode == 1
    return refused.stderr


def test_a_user_with_the_documented_permissions_is_enough_for_everything(tmp_path: Path, server: StoreServer) -> None:
    url = url_of_user(server, acl_rules())
    with open_shop(tmp_path, POLICIES, "--store-url", url, "--durability", "aof") as shop:
        merged, cart_id = shop.cart_of(_85123A=1), shop.cart_of(_85123A=2, _71053=1)
        assert shop.call("POST", f"/v1/carts/{cart_id}/merge", {"from": merged, "strategy": "sum"}).status == 200
        assert shop.call("GET", "/v1/products?q=lantern").status == 200
        placed = _place(shop, cart_id)
        order_id = placed["id"]
        with Kept(shop) as reader:
            assert reader.get(f"/v1/orders/{order_id}/events").status == 200
        eventually(lambda: shop.order(order_id), lambda order: order["status"] == "completed")
        cancelled = _place(shop, shop.cart_of(_85123A=1))["id"]
        assert shop.call("POST", f"/v1/orders/{cancelled}/cancel").status in {202, 409}
        eventually(lambda: shop.order(cancelled), lambda order: order["status"] in {"completed", "cancelled"})
        assert shop.admin("GET", "/admin/v1/status").status == 200
    # CONFIG would only say that the store flushes its file at each write: without it, WAITAOF is used.
    assert {entry[b"object"] for entry in server.command("ACL", "LOG")} <= {b"config|get"}


def _place(shop: RunningShop, cart_id: str) -> dict[str, str]:
    placed = eventually(
        lambda: shop.check_out(cart_id, key=cart_id), lambda response: response.status in {202, 409, 422}
    )
    assert placed.status == 202, placed
    return dict(placed.body)


def test_a_user_that_lacks_commands_is_refused_with_their_names(tmp_path: Path, server: StoreServer) -> None:
    url = url_of_user(server, acl_rules(), "-xreadgroup", "-zpopmin")
    assert refusal(tmp_path, url) == (
        "peakgate: the user of the store may not use zpopmin, xreadgroup; docs/store.md has the ACL line with all that is "
        "needed\n"
    )


def test_a_store_that_evicts_is_refused_unless_it_is_allowed(tmp_path: Path, server: StoreServer) -> None:
    server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    assert refusal(tmp_path, server.url) == (
        "peakgate: the store has maxmemory-policy allkeys-lru: when its memory is full it deletes accepted orders without a "
        "word; set maxmemory-policy noeviction\n"
    )
    shop = RunningShop(tmp_path / "data")
    shop.start("--workers", "1", "--catalog", str(CATALOGUE), "--store-url", server.url, "--allow-eviction", "yes")
    assert shop.stop() == 0
    assert "allkeys-lru" in shop.log


def test_without_a_replica_no_order_is_accepted_where_one_must_have_it(tmp_path: Path, server: StoreServer) -> None:
    shop = RunningShop(tmp_path / "data")
    options = ("--store-url", server.url, "--durability", "replica")
    shop.start("--workers", "1", "--catalog", str(CATALOGUE), *options)
    try:
        assert "no replica of the store confirms writes" in shop.log
        cart_id = shop.cart_of(_85123A=1)
        refused = shop.check_out(cart_id)
        assert (refused.status, refused.body["may_have_run"]) == (503, True)
        with store_server(tmp_path / "replica") as replica:
            replica.follow(server)
            placed = eventually(lambda: shop.check_out(cart_id), lambda response: response.status != 503)
            assert placed.status == 202, placed
            eventually(lambda: shop.order(placed.body["id"]), lambda order: order["status"] == "completed")
    finally:
        shop.stop()


def test_a_queue_in_the_store_is_refused_as_a_place_of_safety(tmp_path: Path, server: StoreServer) -> None:
    assert "--durability queue needs a queue outside of the store" in refusal(
        tmp_path, server.url, "--durability", "queue"
    )


def test_a_replica_is_refused(tmp_path: Path, server: StoreServer) -> None:
    server.command("REPLICAOF", "127.0.0.1", 1)
    assert refusal(tmp_path, server.url) == (
        f"peakgate: cannot connect to the store: 127.0.0.1:{server.port} is a replica, not a primary\n"
    )


def test_a_store_that_was_emptied_while_it_ran_is_said_and_serves_again(tmp_path: Path, server: StoreServer) -> None:
    with open_shop(tmp_path, "", "--store-url", server.url, "--durability", "aof") as shop:
        _place(shop, shop.cart_of(_85123A=1))
        secret = server.command("GET", "peakgate:secret")
        server.command("FLUSHALL")
        unready = eventually(lambda: shop.call("GET", "/readyz"), lambda ready: ready.body["status"] == "degraded")
        assert unready.status == 200
        eventually(lambda: shop.call("GET", "/readyz").body["checks"]["store history"], lambda text: "emptied" in text)
        eventually(lambda: server.command("GET", "peakgate:secret"), lambda found: found == secret)
        assert server.command("GET", "peakgate:partitions") == b"256"
        imported = peakgate(
            "catalog", "import", str(CATALOGUE), "--data-dir", str(shop.data_dir), "--store-url", server.url
        )
        assert imported.returncode == 0, imported.stderr
        eventually(lambda: shop.call("GET", f"/v1/products/{SKU}").status, lambda status: status == 200)
        placed = _place(shop, shop.cart_of(_85123A=2))
        eventually(lambda: shop.order(placed["id"]), lambda order: order["status"] == "completed")
        eventually(lambda: shop.log.count("the store was emptied"))
        assert shop.log.count("the store was emptied") == 1, shop.log
