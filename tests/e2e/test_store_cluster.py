"""A gateway of two workers on a cluster: carts, checkouts and orders, also while a primary changes and slots move."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.harness.store_cluster import StoreCluster, store_cluster
from checkout.queues.redis_queue import QUEUE
from store.slots import slot_of
from tests.e2e.running_shop import CATALOGUE, RunningShop, eventually, peakgate


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreCluster]:
    with store_cluster(tmp_path_factory.mktemp("cluster"), "--appendonly", "yes") as made:
        yield made


@pytest.fixture
def shop(cluster: StoreCluster, tmp_path: Path) -> Iterator[RunningShop]:
    cluster.settle()
    for server in cluster.primaries:
        server.command("FLUSHALL")
    shop = RunningShop(tmp_path / "data")
    shop.start(*("--workers", "2", "--catalog", str(CATALOGUE), "--store-url", cluster.url, "--durability", "aof"))
    yield shop
    assert shop.stop() == 0
    assert "Traceback" not in shop.log, shop.log


def ordered(shop: RunningShop, key: str) -> str:
    """An order that is accepted; a checkout that the store refuses for the moment is sent again."""
    cart_id = eventually(lambda: _cart(shop), lambda found: found is not None)
    response = eventually(lambda: shop.check_out(cart_id or "", key=key), lambda found: found.status == 202)
    return str(response.body["id"])


def completed(shop: RunningShop, order_id: str) -> None:
    eventually(lambda: shop.order(order_id).get("status"), lambda status: status == "completed")


def _cart(shop: RunningShop) -> str | None:
    created = shop.call("POST", "/v1/carts", {})
    if created.status != 201:
        return None
    cart_id = str(created.body["id"])
    added = [
        shop.call("POST", f"/v1/carts/{cart_id}/lines", {"sku": sku, "quantity": 1}) for sku in ("85123A", "22423")
    ]
    return cart_id if [each.status for each in added] == [200, 200] else None


def test_carts_and_orders_are_served_and_completed(shop: RunningShop, cluster: StoreCluster) -> None:
    orders = [ordered(shop, f"order-{number}") for number in range(12)]
    for order_id in orders:
        completed(shop, order_id)
    assert all(server.command("DBSIZE") for server in cluster.primaries)
    assert shop.call("GET", "/readyz").status == 200
    listed = peakgate("orders", "list", "--store-url", cluster.url, "--data-dir", str(shop.data_dir))
    assert listed.returncode == 0, listed.stderr


def test_orders_are_completed_after_a_primary_has_changed_and_slots_have_moved(
    shop: RunningShop, cluster: StoreCluster
) -> None:
    before = [ordered(shop, f"before-{number}") for number in range(4)]
    queue = slot_of(QUEUE)
    cluster.fail_over(cluster.replica_of(cluster.primary_of(queue)))
    source = cluster.primary_of(0)
    target = next(each for each in cluster.primaries if each is not source)
    for slot in range(8):
        cluster.move_slot(slot, target)
    after = [ordered(shop, f"after-{number}") for number in range(4)]
    for order_id in before + after:
        completed(shop, order_id)


def test_every_primary_is_checked_at_the_start(cluster: StoreCluster, tmp_path: Path) -> None:
    cluster.settle()
    for server in cluster.primaries:
        server.command("FLUSHALL")
    last = max(cluster.primaries, key=lambda server: server.port)
    last.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        refused = peakgate("serve", "--port", "0", "--data-dir", str(tmp_path / "data"), "--store-url", cluster.url)
    finally:
        last.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    assert refused.returncode
    assert "the store has maxmemory-policy allkeys-lru" in refused.stderr
