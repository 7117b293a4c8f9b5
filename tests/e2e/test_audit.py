"""`peakgate audit` beside a running shop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cart.ids import partition_of
from cart.model import OrderId
from checkout.order_status import OrderStatus
from checkout.stored import status_key
from store import open_client
from store.embedded import store_url
from tests.e2e.running_shop import CATALOGUE, RunningShop, eventually, peakgate
from tests.e2e.surroundings import count


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[RunningShop]:
    shop = RunningShop(tmp_path / "data")
    shop.start("--workers", "2", "--catalog", str(CATALOGUE), "--audit-every", "0.5", "--audit-full-every", "2")
    yield shop
    shop.kill()


def raw(shop: RunningShop, *words: Any) -> None:
    async def run() -> None:
        client = await open_client(store_url(shop.data_dir), deadline_s=30.0)
        assert await client.execute(*words) == 1
        await client.close()

    asyncio.run(run())


@pytest.mark.slow
def test_a_running_shop_is_audited(shop: RunningShop) -> None:
    order_id = OrderId(str(shop.check_out(shop.cart_of(_85123A=2)).body["id"]))
    eventually(lambda: shop.order(order_id)["status"], lambda status: status == "completed")
    options = ("audit", "--data-dir", str(shop.data_dir))

    clean = peakgate(*options)

    assert (clean.returncode, clean.stdout) == (0, ""), clean
    assert "1 orders accepted = 1 completed" in clean.stderr
    assert "the books agree" in clean.stderr

    raw(shop, "ZREM", status_key(partition_of(order_id), OrderStatus.COMPLETED), order_id)
    faulty, as_json = peakgate(*options), peakgate(*options, "--json")

    assert (faulty.returncode, as_json.returncode) == (1, 1)
    assert faulty.stdout.splitlines()[0].split() == ["RULE", "SUBJECT", "FINDING", "WHAT", "TO", "DO"]
    (finding,) = json.loads(as_json.stdout)["findings"]
    assert (finding["rule"], finding["subject"]) == ("listing", order_id)
    assert finding["remedy"] in faulty.stdout

    # The shop finds it by itself.
    eventually(partial(count, shop, "peakgate_audit_findings", rule="listing"), lambda found: found == 1)
    assert f"audit finding: listing: {order_id}" in shop.log

    raw(shop, *finding["remedy"].replace("'", "").split()[1:])
    assert peakgate(*options).returncode == 0
    eventually(partial(count, shop, "peakgate_audit_findings", rule="listing"), lambda found: found == 0)


def test_a_store_that_is_away_is_said_in_a_line() -> None:
    away = peakgate("audit", "--store-url", "redis://127.0.0.1:1/0")

    assert away.returncode == 69
    assert len(away.stderr.splitlines()) == 1
