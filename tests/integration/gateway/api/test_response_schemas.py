"""Responses sent by the server match the schemas of the OpenAPI document."""

from __future__ import annotations

from typing import Any, cast

import jsonschema
import pytest

from gateway.api.health import HealthSources, health_routes
from gateway.api.openapi import document
from gateway.api.routes import cart_routes, checkout_routes, product_routes, quote_routes, trending_routes
from tests.integration.gateway.shop_server import BOX, MUG, ShopServer, shop_server
from tests.raw_http import RawResponse

# Routes call their handlers only for a request.
NO_HANDLERS = cast(Any, None)
DOCUMENT = document(
    (
        *cart_routes(NO_HANDLERS),
        *product_routes(NO_HANDLERS),
        *trending_routes(NO_HANDLERS),
        *checkout_routes(NO_HANDLERS, NO_HANDLERS, NO_HANDLERS),
        *quote_routes(NO_HANDLERS),
        *health_routes(HealthSources(checks={})),
    ),
    "0",
)


def validate(method: str, path: str, response: RawResponse) -> Any:
    """The body, once it is valid against the schema of this operation and status."""
    operation = DOCUMENT["paths"][path][method.lower()]
    described = operation["responses"][str(response.status)]
    if "$ref" in described:
        described = DOCUMENT["components"]["responses"][described["$ref"].rpartition("/")[2]]
    (media_type,) = described["content"].values()
    jsonschema.validate(response.json(), {**media_type["schema"], "components": DOCUMENT["components"]})
    return response.json()


async def call(shop: ShopServer, method: str, path: str, body: Any = None, **params: str) -> Any:
    return validate(method, path, await shop.call(method, path.format(**params), body))


async def test_carts_products_and_orders_match_their_schemas() -> None:
    cart, order = "/v1/carts/{cart_id}", "/v1/orders/{order_id}"
    async with shop_server() as shop:
        cart_id = (await call(shop, "POST", "/v1/carts"))["id"]
        await call(shop, "POST", cart + "/lines", {"sku": MUG, "quantity": 2}, cart_id=cart_id)
        await shop.price(MUG, 300)
        changed = await call(shop, "GET", cart, cart_id=cart_id)
        assert changed["lines"][0]["warnings"][0]["code"] == "price-changed"
        await call(shop, "PUT", cart + "/lines/{sku}", {"quantity": 3}, cart_id=cart_id, sku=MUG)
        await call(shop, "GET", "/v1/products/{sku}", sku=MUG)
        assert len((await call(shop, "GET", "/v1/products"))["products"]) == 2
        placed = validate("POST", "/v1/checkout", await shop.check_out(cart_id))
        assert (await call(shop, "GET", cart, cart_id=cart_id))["order_id"] == placed["id"]
        await call(shop, "POST", order + "/cancel", order_id=placed["id"])
        assert (await call(shop, "GET", order, order_id=placed["id"]))["reason"] == "requested"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/carts/{cart_id}", None, 404),
        ("POST", "/v1/carts", {"currency": "pounds"}, 422),
        ("POST", "/v1/carts", b"{", 400),
        ("GET", "/v1/products/{sku}", None, 404),
        ("POST", "/v1/checkout", {}, 422),
    ],
)
async def test_problems_match_their_schema(method: str, path: str, body: Any, status: int) -> None:
    async with shop_server() as shop:
        response = await shop.call(method, path.format(cart_id="none", sku=BOX[:2]), body)
        assert response.status == status
        validate(method, path, response)
