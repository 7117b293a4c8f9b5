"""No call of the API takes a card number, wherever it is in the request, and no response repeats it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.integration.gateway.shop_server import MUG, ShopServer, shop_server

CARD = "4111111111111111"
WRITTEN = [
    "4111111111111111",
    "4111-1111.1111_1111",
    "%34111111111111111",
    "%EF%BC%941111111 11111111".replace(" ", "%20"),
]


@pytest.fixture
async def shop() -> AsyncIterator[ShopServer]:
    async with shop_server() as shop:
        yield shop


async def refused(shop: ShopServer, method: str, path: str, body: Any = None, *headers: str) -> None:
    response = await shop.call(method, path, body, *headers)
    assert (response.status, response.problem) == (422, "card-data-refused"), (method, path, body, headers)
    assert "4111" not in repr(response.body) + repr(response.headers)


def calls(cart_id: str) -> list[tuple[str, str, Any]]:
    cart = f"/v1/carts/{cart_id}"
    return [
        ("POST", "/v1/carts", {"currency": "GBP"}),
        ("GET", cart, None),
        ("POST", f"{cart}/lines", {"sku": MUG, "quantity": 1}),
        ("PATCH", f"{cart}/lines", [{"sku": MUG, "quantity": 1}]),
        ("PUT", f"{cart}/lines/{MUG}", {"quantity": 1}),
        ("DELETE", f"{cart}/lines/{MUG}", None),
        ("POST", f"{cart}/merge", {"from": cart_id, "strategy": "sum"}),
        ("DELETE", cart, None),
        ("GET", "/v1/products", None),
        ("GET", f"/v1/products/{MUG}", None),
        ("POST", "/v1/checkout", {"cart_id": cart_id}),
        ("GET", f"/v1/orders/{cart_id}", None),
        ("GET", f"/v1/orders/{cart_id}/events", None),
        ("POST", f"/v1/orders/{cart_id}/cancel", None),
    ]


@pytest.mark.parametrize("written", WRITTEN)
async def test_a_card_number_in_a_path_is_refused(shop: ShopServer, written: str) -> None:
    cart_id = await shop.cart_of()
    for method, path, body in calls(written):
        if written in path:
            await refused(shop, method, path, body)
    for method, path in [("GET", "/v1/products/"), ("DELETE", f"/v1/carts/{cart_id}/lines/")]:
        await refused(shop, method, path + written)
    await refused(shop, "PUT", f"/v1/carts/{cart_id}/lines/{written}", {"quantity": 1})


@pytest.mark.parametrize("written", WRITTEN)
async def test_a_card_number_in_a_query_is_refused(shop: ShopServer, written: str) -> None:
    for method, path, body in calls(await shop.cart_of()):
        await refused(shop, method, f"{path}?{written}", body)
        await refused(shop, method, f"{path}?limit=1&q=mug+{written}", body)
    await refused(shop, "GET", "/v1/products?q=4111+1111+1111+1111")


@pytest.mark.parametrize(
    "body",
    [
        b'{"sku":"4111 1111 1111 1111","quantity":1}',
        b'{"sku":"85123A","quantity":4111111111111111}',
        b'{"4111111111111111":1,"sku":"85123A","quantity":1}',
        b'{"sku":"4111111111111111","sku":"85123A","quantity":1}',
        b'{"sku":"\\u0034111111111111111","quantity":1}',
        b'{"sku":"4111111111111111"',
        b"4111111111111111",
    ],
)
async def test_a_card_number_in_a_body_is_refused(shop: ShopServer, body: bytes) -> None:
    for method, path, _ in calls(await shop.cart_of()):
        if method != "GET":
            await refused(shop, method, path, body)


async def test_a_card_number_in_a_header_field_is_refused(shop: ShopServer) -> None:
    for method, path, body in calls(await shop.cart_of()):
        await refused(shop, method, path, body, "X-Request-Id: 4111 1111 1111 1111")
        if method != "GET":
            await refused(shop, method, path, body, f"Idempotency-Key: order-{CARD}")
            await refused(shop, method, path, body, f'If-Match: "{CARD}"')
    await refused(shop, "GET", "/v1/orders/none/events", None, f"Last-Event-ID: {CARD}")


async def test_a_checkout_takes_no_number_of_any_issuer(shop: ShopServer) -> None:
    response = await shop.check_out(await shop.cart_of(), payment={"token": "9000000000000002"})
    assert response.status == 202
    response = await shop.check_out(await shop.cart_of(), payment={"token": "9000000000000001"})
    assert response.problem == "card-data-refused"


async def test_numbers_that_are_no_card_numbers_pass(shop: ShopServer) -> None:
    for sku in ("4006381333931", "4000000000006", "356938035643809"):
        await shop.price(sku, 100)
        cart_id = await shop.cart_of()
        assert (await shop.call("POST", f"/v1/carts/{cart_id}/lines", {"sku": sku, "quantity": 1})).status == 200
        assert (await shop.call("GET", f"/v1/products/{sku}")).status == 200
        assert (await shop.call("GET", f"/v1/products?q={sku}")).status == 200
    key = "8e03978e-40d5-43dd-bc93-6894a57f9324"
    assert (await shop.check_out(await shop.cart_of(), key)).status == 202
