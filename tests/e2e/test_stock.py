"""`peakgate stock …` and the same on the admin API, beside a shop that sells."""

from __future__ import annotations

import json
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.running_shop import CATALOGUE, RunningShop, eventually, peakgate
from tests.e2e.surroundings import count, part

MUG, SKU = "85123A", {"_85123A": 1}


def stock(shop: RunningShop, *words: str) -> subprocess.CompletedProcess[str]:
    return peakgate("stock", *words, "--data-dir", str(shop.data_dir))


def low_skus(shop: RunningShop) -> Any:
    """The low SKUs in the status of the worker that counts them, with their units; None before the first count."""
    return next((each["latest"] for each in part(shop, "low_stock") if each), None)


def test_a_correction_is_for_sale_at_once(shared_shop: RunningShop) -> None:
    shop = shared_shop
    assert stock(shop, "set", MUG, "0").returncode == 0
    cart = shop.cart_of(**SKU)
    refused = shop.check_out(cart)
    assert (refused.status, refused.body["type"]) == (409, "/problems/out-of-stock")

    added = stock(shop, "add", MUG, "2")
    assert added.stdout == "85123A: 2 units are for sale, 0 were\n"
    order = eventually(lambda: shop.check_out(cart, key="again"), lambda response: response.status != 409)
    assert order.status == 202
    eventually(lambda: shop.order(str(order.body["id"]))["status"], "completed".__eq__)

    (level,) = json.loads(stock(shop, "show", MUG, "--json").stdout)
    assert level == {"sku": MUG, "available": 1, "held": 0, "sold": 0}
    too_many = stock(shop, "add", MUG, "-2")
    assert too_many.returncode == 1
    assert too_many.stderr.startswith("peakgate: '85123A' has 1 units for sale")


def test_the_admin_api_corrects_once_for_each_key(shared_shop: RunningShop) -> None:
    path = f"/admin/v1/stock/{MUG}"
    assert shared_shop.admin("POST", path, {"set": 5}, key="count").status == 200
    for is_new in (True, False):
        added = shared_shop.admin("POST", path, {"add": 3}, key="delivery 17")
        assert (added.status, added.body["after"], added.body["is_new"]) == (200, 8, is_new)
    assert shared_shop.admin("GET", path).body == {"sku": MUG, "available": 8, "held": 0, "sold": 0}
    assert shared_shop.admin("GET", f"{path}/holds").body == {"holds": [], "next_cursor": None}
    assert shared_shop.admin("GET", "/admin/v1/stock/none").status == 404
    assert shared_shop.admin("POST", path, {"add": -9}, key="breakage").status == 422


def test_one_shopper_gets_no_more_than_the_limit(shared_shop: RunningShop) -> None:
    shop = shared_shop
    assert stock(shop, "set", MUG, "9999").returncode == 0
    assert json.loads(stock(shop, "terms", MUG, "--per-shopper", "1", "--json").stdout)["per_shopper"] == 1
    # Workers learn of it one after another.
    refused = eventually(lambda: shop.check_out(shop.cart_of(**SKU)), lambda response: response.status != 202)
    assert (refused.status, refused.body["type"]) == (409, "/problems/shopper-limit")
    assert refused.body["lines"] == [{"sku": MUG, "requested": 1, "remaining": 0}]
    path = f"/admin/v1/stock/{MUG}/terms"
    assert shop.admin("PATCH", path, {}).status == 422
    assert shop.admin("PATCH", path, {"per_shopper": None}).body == shop.admin("GET", path).body
    eventually(lambda: shop.check_out(shop.cart_of(**SKU)), lambda response: response.status == 202)
    assert stock(shop, "terms", "none").returncode == 1


def test_a_product_is_sold_ahead_of_its_stock(shared_shop: RunningShop) -> None:
    shop = shared_shop
    assert stock(shop, "set", MUG, "0").returncode == 0
    words = ("--sold-ahead", "preorder", "--ahead-limit", "1", "--available-on", "2026-12-20", "--json")
    terms = json.loads(stock(shop, "terms", MUG, *words).stdout)
    assert (terms["sold_ahead"], terms["ahead_limit"], terms["available_on"]) == ("preorder", 1, "2026-12-20")
    shown = eventually(lambda: shop.call("GET", f"/v1/products/{MUG}").body, lambda body: "sold_ahead" in body)
    assert (shown["in_stock"], shown["available_on"]) == (False, "2026-12-20")
    cart = shop.cart_of(**SKU)
    warned = eventually(lambda: shop.call("GET", f"/v1/carts/{cart}").body["lines"][0], lambda line: "warnings" in line)
    assert warned["warnings"] == [{"code": "preorder", "available_on": "2026-12-20"}]
    order = shop.check_out(cart, key="ahead 1")
    assert order.body["lines"][0]["ahead"] == 1
    assert shop.check_out(shop.cart_of(**SKU), key="ahead 2").status == 409
    path = f"/admin/v1/stock/{MUG}/terms"
    assert shop.admin("PATCH", path, {"available_on": "soon"}).status == 422
    none = shop.admin("PATCH", path, {"sold_ahead": None, "ahead_limit": None, "available_on": None})
    assert (none.body["sold_ahead"], none.body["ahead_limit"], none.body["available_on"]) == ("", 0, "")
    assert stock(shop, "set", MUG, "5").returncode == 0


def test_units_are_held_for_a_cart_until_its_checkout(shared_shop: RunningShop) -> None:
    shop = shared_shop
    assert stock(shop, "set", MUG, "3").returncode == 0
    assert json.loads(stock(shop, "terms", MUG, "--hold-at-cart", "600", "--json").stdout)["hold_at_cart"] == 600
    cart = shop.cart_of(_85123A=3)
    # Until every worker has the term.
    held = eventually(
        lambda: [written_line(shop, cart) for _ in range(8)], lambda lines: all("hold" in x for x in lines)
    )
    hold = held[-1]["hold"]
    assert (hold["quantity"], hold["can_extend"], hold["ends_soon"]) == (3, True, False)
    assert stock(shop, "holds", MUG).stdout.splitlines()[1].startswith("cart ")
    other = shop.cart_of(**SKU)
    assert shop.check_out(other, key="held 1").body["type"] == "/problems/out-of-stock"

    extended = shop.call("POST", f"/v1/carts/{cart}/lines/{MUG}/hold")
    assert extended.status == 200
    assert extended.body["lines"][0]["hold"]["until"] > hold["until"]
    again = shop.call("POST", f"/v1/carts/{cart}/lines/{MUG}/hold")
    assert (again.status, again.body["type"]) == (409, "/problems/hold-not-extendable")

    assert shop.check_out(cart, key="held 2").status == 202
    assert stock(shop, "terms", MUG, "--hold-at-cart", "none").returncode == 0


def written_line(shop: RunningShop, cart: str) -> dict[str, Any]:
    """The line of three mugs after it was written once more."""
    line: dict[str, Any] = shop.call("PUT", f"/v1/carts/{cart}/lines/{MUG}", {"quantity": 3}).body["lines"][0]
    return line


def test_wrong_words_are_refused_in_a_line(shared_shop: RunningShop, tmp_path: Path) -> None:
    for words, code in ((("show", "none"), 1), (("set", MUG, "-1"), 64), (("add", MUG, "0"), 64), (("holds",), 64)):
        refused = stock(shared_shop, *words)
        assert refused.returncode == code
        assert refused.stderr.startswith("peakgate")
        assert refused.stderr.count("\n") == 1
    away = peakgate("stock", "show", MUG, "--data-dir", str(tmp_path), "--store-url", "redis://127.0.0.1:1")
    assert away.returncode == 69


@pytest.mark.slow
def test_a_sale_that_leaves_few_units_is_logged_and_counted(tmp_path: Path) -> None:
    shop = RunningShop(tmp_path / "data")
    shop.start("--workers", "2", "--catalog", str(CATALOGUE), "--low-stock", "5")
    try:
        assert stock(shop, "set", MUG, "7").returncode == 0
        for bought in range(3):
            order = shop.check_out(shop.cart_of(**SKU), key=f"order {bought}")
            assert order.status == 202
            order_id = str(order.body["id"])
            eventually(partial(shop.order, order_id), lambda shown: shown["status"] == "completed")
        assert shop.log.count("low stock: 85123A has 5 units for sale") == 1
        assert shop.log.count("low stock: ") == 1
        eventually(lambda: low_skus(shop), {MUG: 4}.__eq__)
        assert count(shop, "peakgate_low_stock_skus") == 1

        assert stock(shop, "add", MUG, "10").returncode == 0
        eventually(lambda: low_skus(shop), {}.__eq__)
    finally:
        shop.kill()
