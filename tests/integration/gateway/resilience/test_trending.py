"""Trending products: counted from the orders of a whole gateway, and the first thing that is off."""

from __future__ import annotations

import asyncio

from tests.integration.gateway.resilience.shopping import SKU, Shop

PATH = "/v1/products/trending"


async def until_listed(shop: Shop) -> None:
    while True:
        response = await shop.call("GET", PATH)
        if response.status == 200 and response.json()["products"]:
            break
        await asyncio.sleep(0.05)
    assert [product["sku"] for product in response.json()["products"]] == [SKU]


async def test_an_accepted_order_makes_its_products_trending(shop: Shop) -> None:
    await shop.order(1)
    await until_listed(shop)
    assert (await shop.snapshot("trending"))["counted"] == 1


async def test_trending_products_are_off_while_the_breaker_of_the_store_is_open_and_come_back(shop: Shop) -> None:
    await shop.order(1)
    await until_listed(shop)
    await shop.drill(tripped=True)
    # Another query: the response cache has the page of the first.
    response = await shop.call("GET", f"{PATH}?limit=7")
    assert (response.status, response.json()["type"]) == (503, "/problems/disabled")
    assert (await shop.snapshot("trending"))["is_paused"]
    await shop.drill(tripped=False)
    assert (await shop.until_answered("GET", f"{PATH}?limit=8")).status == 200
