"""Coupons, shipping methods and taxes of a running shop: `peakgate coupons …`, the admin API, carts, quotes and orders."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.running_shop import CATALOGUE, UNSHED, RunningShop, eventually, peakgate

STAND = "22423"
TARIFF = """
[[tariff.shipping_methods]]
name = "standard"
rates = [{ price = 0, currency = "GBP", from_subtotal = 100000 }, { price = 395, currency = "GBP", countries = ["GB"] }]

[[tariff.shipping_methods]]
name = "express"
title = "Tomorrow"
rates = [{ price = 995 }]

[[tariff.tax.rates]]
percent = 20.0
countries = ["GB"]
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningShop]:
    folder = tmp_path_factory.mktemp("shop")
    config = folder / "peakgate.toml"
    config.write_text(TARIFF + UNSHED, encoding="utf-8")
    shop = RunningShop(folder / "data")
    shop.start("--workers", "2", "--catalog", str(CATALOGUE), "--config", str(config))
    yield shop
    assert shop.stop() == 0
    assert "Traceback" not in shop.log, shop.log


def coupons(shop: RunningShop, *words: str) -> subprocess.CompletedProcess[str]:
    return peakgate("coupons", *words, "--data-dir", str(shop.data_dir))


def with_coupon(shop: RunningShop, code: str, quantity: int = 2) -> str:
    """A cart that has the coupon; workers learn of it one after another."""
    cart_id = shop.cart_of(**{f"_{STAND}": quantity})
    eventually(
        lambda: shop.call("PUT", f"/v1/carts/{cart_id}/coupon", {"code": code}), lambda response: response.status == 200
    )
    return cart_id


def amounts(body: Any) -> tuple[int, list[int], int, int]:
    """Subtotal, discounts, shipping and total."""
    discounts = [each["amount"]["amount"] for each in body["discounts"]]
    return body["subtotal"]["amount"], discounts, body["shipping"]["amount"], body["total"]["amount"]


def test_a_coupon_is_offered_quoted_ordered_and_used_up(shop: RunningShop) -> None:
    put = coupons(shop, "put", "half", "--name", "Half price", "--percent", "50", "--uses", "2", "--per-shopper", "1")
    assert put.returncode == 0, put.stderr
    assert "1 for each shopper" in put.stdout

    cart_id = with_coupon(shop, "Half")
    quote = shop.call("GET", f"/v1/carts/{cart_id}/quote?country=gb").body
    subtotal, discounts, shipping, total = amounts(quote)
    assert (discounts, shipping, total) == ([subtotal // 2], 395, subtotal - subtotal // 2 + 395)
    assert [each["name"] for each in quote["shipping_methods"]] == ["standard", "express"]
    assert quote["tax"]["included"] is True
    assert quote["tax"]["amount"]["amount"] == quote["lines"][0]["tax"]["amount"] + quote["tax"]["shipping"]["amount"]

    placed = shop.check_out(cart_id)
    assert placed.status == 202, placed
    assert (amounts(placed.body), placed.body["tax"]) == (amounts(quote), quote["tax"])
    again = shop.check_out(with_coupon(shop, "HALF"))
    assert (again.status, again.body["code"], again.body["reason"]) == (409, "HALF", "used-by-shopper")

    (state,) = json.loads(coupons(shop, "show", "half", "--json").stdout)
    assert (state["percent"], state["uses"]["left"]) == (50.0, 1)
    assert coupons(shop, "uses", "half", "--set", "0").stdout == "HALF: 1 -> 0 uses left\n"
    assert coupons(shop, "remove", "half").returncode == 0
    eventually(lambda: shop.order(placed.body["id"])["status"], "completed".__eq__)
    assert amounts(shop.order(placed.body["id"])) == amounts(quote)
    cart_id = shop.cart_of(**{f"_{STAND}": 1})
    refused = eventually(
        lambda: shop.call("PUT", f"/v1/carts/{cart_id}/coupon", {"code": "HALF"}),
        lambda response: response.status == 409,
    )
    assert refused.body["reason"] == "unknown"


def test_a_used_up_coupon_refuses_and_the_cart_without_it_is_ordered(shop: RunningShop) -> None:
    assert coupons(shop, "put", "none", "--name", "None", "--free-shipping", "--uses", "0").returncode == 0
    cart_id = with_coupon(shop, "NONE")
    refused = shop.check_out(cart_id)
    assert (refused.status, refused.body["type"], refused.body["reason"]) == (
        409,
        "/problems/coupon-refused",
        "used-up",
    )
    assert shop.call("DELETE", f"/v1/carts/{cart_id}/coupon").status == 200
    assert shop.check_out(cart_id).status == 202


def test_the_admin_api_has_coupons(shop: RunningShop) -> None:
    path = "/admin/v1/coupons/fiver"
    offer = {
        "name": "5 off",
        "amount": 500,
        "currency": "GBP",
        "minimum": 1000,
        "uses": 7,
        "until": "2090-01-01T00:00Z",
    }
    put = shop.admin("PUT", path, offer)
    assert (put.status, put.body["code"], put.body["uses"]["left"]) == (200, "FIVER", 7), put
    assert shop.admin("GET", path).body == put.body
    assert "FIVER" in [each["code"] for each in shop.admin("GET", "/admin/v1/coupons").body["coupons"]]
    assert shop.admin("PUT", path, {"name": "5 off"}).status == 422
    assert shop.admin("POST", path + "/uses", {"add": 3}).status == 400
    assert shop.admin("DELETE", path).body == {"code": "FIVER"}
    assert shop.admin("GET", path).status == 404


def test_a_method_that_is_not_offered_is_refused_with_those_that_are(shop: RunningShop) -> None:
    cart_id = shop.cart_of(**{f"_{STAND}": 1})
    refused = shop.call("GET", f"/v1/carts/{cart_id}/quote?country=FR")
    assert (refused.status, refused.body["offered"]) == (422, ["express"])
    abroad = shop.call("GET", f"/v1/carts/{cart_id}/quote?country=FR&shipping_method=express").body
    assert (abroad["shipping"]["amount"], abroad["tax"]["amount"]["amount"]) == (995, 0)
    assert shop.call("GET", f"/v1/carts/{cart_id}/quote").status == 422
    assert shop.call("GET", f"/v1/carts/{cart_id}/quote?country=XX").status == 422


def test_a_reload_changes_the_tariff_of_all_workers(shop: RunningShop) -> None:
    config = Path(shop.data_dir).parent / "peakgate.toml"
    config.write_text(TARIFF.replace("395", "495") + UNSHED, encoding="utf-8")
    assert shop.admin("POST", "/admin/v1/reload").status == 200
    cart_id = shop.cart_of(**{f"_{STAND}": 1})
    for _ in range(8):  # of both workers
        assert shop.call("GET", f"/v1/carts/{cart_id}/quote?country=GB").body["shipping"]["amount"] == 495


def test_wrong_words_are_refused_in_a_line(shop: RunningShop) -> None:
    for words, code in (
        (("show", "nobody"), 1),
        (("put", "X", "--name", "x"), 1),
        (("put", "X", "--name", "x", "--percent", "ten"), 1),
        (("put", "X", "--name", "x", "--amount", "1.001"), 1),
        (("put", "X"), 64),
        (("uses", "X"), 64),
        (("remove", "nobody"), 1),
    ):
        refused = coupons(shop, *words)
        assert refused.returncode == code, refused.stderr
        assert refused.stderr.startswith("peakgate")
        assert refused.stderr.count("\n") == 1
