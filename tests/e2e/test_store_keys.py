"""The keys that a busy shop leaves in its store are those of the table."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

from primitives.webhook_signature import new_secret
from store import open_client
from store.embedded import store_url
from store.keys import kind_of
from tests.e2e.running_shop import RunningShop, eventually, peakgate
from tests.e2e.surroundings import open_shop
from tests.integration.store.key_faults import key_faults

# Nobody listens where the webhooks go, so that their messages wait.
POLICIES = """
[[limits]]
name = "per-client"
by = "address"
quota = 100000
window_s = 86400

[[rooms]]
name = "sale"
routes = ["/v1/carts"]
max_active = 100
admissions_per_s = 50

[[webhooks]]
name = "crm"
url = "http://127.0.0.1:1/hook"
secret_file = "{secret}"
allow_private = true
"""
ENDED = {"completed", "cancelled"}
# Kinds that such a shop has for certain, as a check that the soak reached them.
REACHED = {
    *("cart", "cart keys", "merge", "product", "returns", "order", "status", "ended", "order number"),
    *(
        "orders of an e-mail",
        "webhooks",
        "webhooks due",
        "rate limit",
        "waiting room",
        "generation",
        "secret",
    ),
}


def test_a_busy_shop_leaves_only_keys_of_the_table_with_their_expiries_and_within_their_bounds(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"{new_secret()}\n")
    with open_shop(tmp_path, POLICIES.format(secret=secret), "--audit-every", "0.5") as shop:
        orders = [_place(shop, token) for _ in range(10) for token in ("tok_ok", "tok_declined")]
        for order_id in (_place(shop, "tok_ok") for _ in range(5)):
            assert shop.call("POST", f"/v1/orders/{order_id}/cancel").status in {202, 409}
            orders.append(order_id)
        _merge(shop)
        _shop_with_keys(shop)
        for order_id in orders:
            eventually(partial(_status, shop, order_id), ENDED.__contains__)
        added = peakgate("stock", "add", "85123A", "5", "--key", "delivery-1", "--data-dir", str(shop.data_dir))
        assert added.returncode == 0, added
        eventually(lambda: shop.admin("GET", "/admin/v1/webhooks/crm/deliveries").body["deliveries"])

        faults, names = asyncio.run(_look(shop))

    assert faults == []
    assert REACHED - names == set()


async def _look(shop: RunningShop) -> tuple[list[str], set[str]]:
    """What breaks the table, and the kinds of all keys."""
    client = await open_client(store_url(shop.data_dir), deadline_s=30.0)
    try:
        keys = await client.execute("KEYS", "*")
        return await key_faults(client), {kind.name for key in keys if (kind := kind_of(key)) is not None}
    finally:
        await client.close()


def _status(shop: RunningShop, order_id: str) -> Any:
    return shop.order(order_id)["status"]


def _place(shop: RunningShop, token: str) -> str:
    cart_id = shop.cart_of(_85123A=1, _71053=1)
    placed = shop.check_out(cart_id, key=cart_id, token=token)
    assert placed.status == 202, placed
    return str(placed.body["id"])


def _merge(shop: RunningShop) -> None:
    target, source = shop.cart_of(_85123A=1), shop.cart_of(_71053=1)
    assert shop.call("POST", f"/v1/carts/{target}/merge", {"from": source, "strategy": "sum"}).status == 200


def _shop_with_keys(shop: RunningShop) -> None:
    """More idempotency keys than a cart knows."""
    cart_id = shop.cart_of()
    for number in range(60):
        line = {"sku": "85123A", "quantity": 1}
        assert shop.call("POST", f"/v1/carts/{cart_id}/lines", line, Idempotency_Key=f"key-{number}").status == 200
