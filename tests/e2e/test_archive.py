"""A shop whose store loses every order has them in its archive."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.e2e.running_shop import CATALOGUE, RunningShop, eventually, peakgate


def archived_status(shop: RunningShop, order_id: str) -> str | None:
    with sqlite3.connect(f"file:{shop.data_dir}/archive.sqlite3?mode=ro", uri=True) as archive:
        found = archive.execute("SELECT status FROM orders WHERE id = ?", (order_id,)).fetchone()
    archive.close()
    return None if found is None else str(found[0])


@pytest.mark.slow
def test_orders_outlive_the_store(tmp_path: Path) -> None:
    shop = RunningShop(tmp_path / "data")
    options = ("--workers", "1", "--catalog", str(CATALOGUE))
    shop.start(*options)
    try:
        placed = shop.check_out(shop.cart_of(_85123A=2))
        order_id = placed.body["id"]
        eventually(lambda: archived_status(shop, order_id), lambda status: status == "completed")
        before = shop.order(order_id)
        # Writes of the store that were not handed on would come back with it.
        shop.stop()
        shutil.rmtree(shop.data_dir / "appendonlydir")
        shop.start(*options)
        assert shop.call("GET", f"/v1/orders/{order_id}").body == before
        runs = [peakgate("orders", "restore", "--data-dir", str(shop.data_dir)).stdout for _ in range(2)]
        assert runs == [
            "1 orders restored, 0 were in the store\n",
            "0 orders restored, 1 were in the store\n",
        ]
        found = peakgate("orders", "find", before["number"], "--data-dir", str(shop.data_dir))
        assert found.returncode == 0, found.stderr
        assert order_id in found.stdout
    finally:
        shop.kill()
