"""The filters and members of `GET /v1/products`, as a client names them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cart.catalog.model import CatalogRow
from cart.model import Sku
from tests.integration.gateway.shop_server import ShopServer, shop_server

ROWS = [
    CatalogRow(Sku("L1"), "RED LAMP", 500, "GBP", 0, "Lighting & more"),
    CatalogRow(Sku("L2"), "BLUE LAMP", 1500, "GBP", 3, "Lighting & more"),
    CatalogRow(Sku("L3"), "GREEN LAMP", 900, "GBP", 1),
]


@pytest.fixture
async def shop() -> AsyncIterator[ShopServer]:
    async with shop_server() as shop:
        await shop.catalog.put(ROWS)
        await shop.search.upsert(ROWS)
        yield shop


async def products(shop: ShopServer, query: str) -> list[dict[str, Any]]:
    response = await shop.call("GET", f"/v1/products?q=lamp&{query}")
    assert response.status == 200, response.body
    listed: list[dict[str, Any]] = response.json()["products"]
    return listed


@pytest.mark.parametrize(
    ("query", "skus"),
    [
        ("category=Lighting%20%26+more", ["L1", "L2"]),
        ("category=Lighting+%26+more&in_stock=true", ["L2"]),
        ("min_price=900", ["L2", "L3"]),
        ("min_price=500&max_price=900&in_stock=true", ["L3"]),
        ("max_price=900&currency=EUR", []),
    ],
)
async def test_products_are_filtered(shop: ShopServer, query: str, skus: list[str]) -> None:
    assert [product["sku"] for product in await products(shop, query)] == skus


async def test_products_have_the_members_that_are_named(shop: ShopServer) -> None:
    assert await products(shop, "fields=name,category&min_price=900") == [
        {"sku": "L2", "name": "BLUE LAMP", "category": "Lighting & more"},
        {"sku": "L3", "name": "GREEN LAMP"},
    ]


async def test_a_malformed_filter_is_refused_by_its_name(shop: ShopServer) -> None:
    response = await shop.call("GET", "/v1/products?min_price=2.50&fields=colour")
    assert response.status == 422
    assert [fault["pointer"] for fault in response.json()["errors"]] == ["/fields", "/min_price"]
