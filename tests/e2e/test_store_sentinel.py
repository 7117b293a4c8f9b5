"""A shop whose store is watched by Sentinels: a failover loses none of its accepted orders."""

from __future__ import annotations

import threading
from pathlib import Path

from tests.e2e.running_shop import CATALOGUE, RunningShop, eventually
from tests.sentinels import Watched, watched_pair
from tests.waiting import wait_until


class Shoppers:
    """One after another orders a cart; a checkout without an end is tried again with its key."""

    def __init__(self, shop: RunningShop) -> None:
        self._shop = shop
        self.accepted: list[str] = []
        self.statuses: set[int] = set()
        self._is_over = threading.Event()
        self._running = threading.Thread(target=self._run)
        self._running.start()

    def stop(self) -> None:
        self._is_over.set()
        self._running.join()

    def _run(self) -> None:
        while not self._is_over.is_set():
            created = self._shop.call("POST", "/v1/carts")
            if created.status != 201:
                continue
            cart_id = created.body["id"]
            path = f"/v1/carts/{cart_id}/lines"
            if self._shop.call("POST", path, {"sku": "85123A", "quantity": 1}).status == 200:
                self._order(cart_id)

    def _order(self, cart_id: str) -> None:
        while not self._is_over.is_set():
            placed = self._shop.check_out(cart_id)
            self.statuses.add(placed.status)
            if placed.status == 202:
                self.accepted.append(placed.body["id"])
            # The cart of an order that is lost may be lost too.
            if placed.status != 503:
                return


def test_no_accepted_order_is_lost_when_the_primary_dies(tmp_path: Path) -> None:
    with watched_pair(tmp_path / "stores") as watched:
        shop = RunningShop(tmp_path / "data")
        options = ("--store-url", watched.url, "--durability", "replica")
        shop.start("--workers", "1", "--catalog", str(CATALOGUE), *options)
        shoppers = Shoppers(shop)
        try:
            _fail_over(watched, shoppers)
        finally:
            shoppers.stop()
        assert shoppers.statuses <= {202, 503, 404, 409}
        for order_id in shoppers.accepted:
            eventually(lambda order_id=order_id: shop.order(order_id), lambda order: order.get("status") == "completed")  # type: ignore[misc]
        assert shop.stop() == 0


def _fail_over(watched: Watched, shoppers: Shoppers) -> None:
    wait_until(lambda: len(shoppers.accepted) > 10)
    watched.first.kill()
    wait_until(lambda: watched.second.info("replication")["role"] == "master")
    watched.first.start()
    accepted = len(shoppers.accepted)
    wait_until(lambda: len(shoppers.accepted) > accepted + 10)
