"""Every accepted order ends, or a person is told of it, however often its workers are killed."""

from __future__ import annotations

import http.client
import os
import random
import signal
import urllib.error
from functools import partial
from pathlib import Path
from typing import Any

from tests.e2e.running_shop import RunningShop, eventually, is_alive
from tests.e2e.surroundings import open_shop

SKU = "85123A"
TOKENS = [*["tok_ok"] * 20, *["tok_slow"] * 8, *["tok_declined"] * 6, *["tok_timeout"] * 3, "tok_capture_timeout"]
KILLS = 5


def kill_a_worker(shop: RunningShop, number: int) -> None:
    pids = eventually(shop.worker_pids, lambda found: len(found) == 2)
    victim = pids[number % 2]
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: is_alive(victim), lambda alive: not alive)


def placed(shop: RunningShop, number: int, token: str) -> str:
    """The id of an order, placed as a shopper does whose connection may be lost: again, with the same key."""

    def place() -> str | None:
        try:
            accepted = shop.check_out(cart_id, key=f"order {number}", token=token)
        except (urllib.error.URLError, ConnectionError, http.client.HTTPException):
            return None
        return str(accepted.body["id"]) if accepted.status == 202 else None

    def fill() -> str | None:
        try:
            return shop.cart_of(**{f"_{SKU}": 1})
        except (urllib.error.URLError, ConnectionError, http.client.HTTPException, AssertionError, KeyError, TypeError):
            return None

    cart_id = eventually(fill) or ""
    return eventually(place) or ""


def needing_attention(shop: RunningShop) -> dict[str, str]:
    """The reasons of the orders that need attention, by id."""
    listed = shop.admin("GET", "/admin/v1/orders/attention")
    return {entry["id"]: entry["reason"] for entry in listed.body["orders"]} if listed.status == 200 else {}


def status_of(shop: RunningShop, order_id: str) -> Any:
    try:
        return shop.order(order_id)["status"]
    except (urllib.error.URLError, ConnectionError, http.client.HTTPException):
        return None


def end_of(shop: RunningShop, order_id: str) -> Any:
    """`completed`, `cancelled` or `attention`."""

    def now() -> Any:
        return "attention" if order_id in needing_attention(shop) else status_of(shop, order_id)

    return eventually(now, lambda status: status in {"completed", "cancelled", "attention"})


def test_every_order_ends_although_workers_are_killed(tmp_path: Path) -> None:
    with open_shop(tmp_path, "", "--order-patience", "8", workers=2) as shop:
        before = shop.stock(SKU)
        orders: dict[str, str] = {}
        for number, token in enumerate(random.Random(7).sample(TOKENS, len(TOKENS))):
            orders[placed(shop, number, token)] = token
            if number % (len(TOKENS) // KILLS) == 3:
                kill_a_worker(shop, number)

        final = {order_id: end_of(shop, order_id) for order_id in orders}

        assert len(orders) == len(TOKENS)
        by_token: dict[str, set[str]] = {}
        for order_id, token in orders.items():
            by_token.setdefault(token, set()).add(final[order_id])
        assert by_token["tok_ok"] == by_token["tok_slow"] == {"completed"}
        assert by_token["tok_declined"] == {"cancelled"}
        assert by_token["tok_timeout"] <= {"cancelled", "attention"}
        assert by_token["tok_capture_timeout"] == {"attention"}

        # An operator sees them, and ends them.
        waiting = needing_attention(shop)
        assert not any(order_id in shop.log for order_id in orders)
        readiness = eventually(
            lambda: shop.call("GET", "/readyz").body, lambda body: body["checks"].get("orders", "ok") != "ok"
        )
        assert readiness["status"] == "degraded"
        assert "attention" in readiness["checks"]["orders"]
        for order_id in waiting:
            assert shop.admin("POST", f"/admin/v1/orders/{order_id}/cancel").status == 202
            eventually(partial(status_of, shop, order_id), lambda status: status == "cancelled")
        eventually(lambda: needing_attention(shop), lambda left: not left)

        completed = sum(status == "completed" for status in final.values())
        eventually(lambda: shop.stock(SKU), lambda stock: stock == before - completed)
