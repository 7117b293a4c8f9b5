"""The webhook of a carrier: signed, recent, durable when it is answered, and with one effect."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from cart.ids import new_cart_id, order_id_for
from cart.model import OrderId
from checkout.facts import MAX_FACTS, Fact, ShipmentFact
from primitives.webhook_signature import WebhookSigner, new_secret
from tests.integration.gateway.shop_server import BOX, CARRIER_SECRET, ShopServer, shop_server
from tests.raw_http import RawResponse

SIGNER = WebhookSigner(CARRIER_SECRET)


@pytest.fixture
async def shop() -> AsyncIterator[ShopServer]:
    async with shop_server() as shop:
        await shop.price(BOX, 100)
        yield shop


@pytest.fixture
async def order_id(shop: ShopServer) -> OrderId:
    return OrderId((await shop.check_out(await shop.cart_of(BOX))).json()["id"])


async def facts(shop: ShopServer, order_id: OrderId) -> tuple[Fact, ...]:
    order = await shop.orders.read(order_id)
    assert order is not None
    return order.facts


async def send(
    shop: ShopServer, report: Any, *, webhook_id: str = "msg_1", signer: WebhookSigner = SIGNER, signed: Any = None
) -> RawResponse:
    """Send the report, signed as if it were `signed`."""
    body = orjson.dumps(report)
    headers = signer.headers(webhook_id, orjson.dumps(report if signed is None else signed))
    return await shop.call(
        "POST", "/v1/webhooks/shipping", body, *(f"{name}: {value}" for name, value in headers.items())
    )


async def test_a_report_is_appended_to_its_order(shop: ShopServer, order_id: OrderId) -> None:
    response = await send(
        shop,
        {
            "order_id": order_id,
            "status": "shipped",
            "at": "2026-11-27T14:30:00+01:00",
            "carrier": "Royal Mail",
            "tracking_number": "AB123456789GB",
            "tracking_url": "https://track.example/AB123456789GB",
            "weight": "unknown members are ignored",
        },
    )

    assert (response.status, response.body) == (204, b"")
    (fact,) = await facts(shop, order_id)
    assert fact == ShipmentFact(
        id=fact.id,
        at=1_795_786_200_000,
        became="shipped",
        carrier="Royal Mail",
        tracking="AB123456789GB",
        tracking_url="https://track.example/AB123456789GB",
    )


async def test_a_report_that_is_repeated_is_appended_once(shop: ShopServer, order_id: OrderId) -> None:
    for _ in range(5):
        assert (await send(shop, {"order_id": order_id, "status": "shipped"})).status == 204
    assert len(await facts(shop, order_id)) == 1


async def test_reports_in_any_sequence_are_all_appended(shop: ShopServer, order_id: OrderId) -> None:
    for number, status in enumerate(("delivered", "shipped", "returned")):
        await send(shop, {"order_id": order_id, "status": status, "restock": True}, webhook_id=f"msg_{number}")
    became = [fact.became for fact in await facts(shop, order_id) if isinstance(fact, ShipmentFact)]
    assert became == ["delivered", "shipped", "returned"]


async def test_a_tracking_number_that_looks_like_a_card_is_no_card(shop: ShopServer, order_id: OrderId) -> None:
    report = {"order_id": order_id, "status": "shipped", "tracking_number": "4111111111111111"}
    assert (await send(shop, report)).status == 204


async def test_a_webhook_that_is_signed_wrongly_changes_nothing(shop: ShopServer, order_id: OrderId) -> None:
    report = {"order_id": order_id, "status": "returned", "restock": True}
    refusals = [
        await send(shop, report, signer=WebhookSigner(new_secret())),
        await send(shop, report, signed={"order_id": order_id, "status": "shipped"}),
        await send(shop, report, signer=WebhookSigner(CARRIER_SECRET, clock=lambda: time.time() - 3600)),
        await send(shop, report, signer=WebhookSigner(CARRIER_SECRET, clock=lambda: time.time() + 3600)),
        await shop.call("POST", "/v1/webhooks/shipping", report),
    ]

    assert [refused.status for refused in refusals] == [401] * 5
    assert {refused.json()["type"] for refused in refusals} == {"/problems/webhook-not-signed"}
    assert not await facts(shop, order_id)


@pytest.mark.parametrize("kind", ["unknown", "foreign"])
async def test_a_report_on_another_shops_order_is_accepted_and_logged_without_its_content(
    shop: ShopServer, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    order_id = order_id_for(new_cart_id(), 1) if kind == "unknown" else "ada@example.com"

    with caplog.at_level(logging.WARNING):
        response = await send(shop, {"order_id": order_id, "status": "shipped", "tracking_number": "AB1"})

    assert (response.status, response.body) == (204, b"")
    assert "a webhook of the shipping service is about an order of another shop" in caplog.text
    assert order_id not in caplog.text
    assert "AB1" not in caplog.text


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("status", "lost"),
        ("status", "completed"),
        ("at", "yesterday"),
        ("at", "2026-11-27T14:30:00"),
        ("carrier", ""),
        ("tracking_number", "x" * 201),
        ("tracking_url", "javascript:alert(1)"),
        ("tracking_url", "https://track.example/a b"),
        ("restock", "yes"),
    ],
)
async def test_a_report_with_an_invalid_member_says_which(
    shop: ShopServer, order_id: OrderId, member: str, value: object
) -> None:
    response = await send(shop, {"order_id": order_id, "status": "shipped", member: value})
    assert response.status == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [f"/{member}"]
    assert not await facts(shop, order_id)


async def test_an_order_takes_a_limited_number_of_reports(shop: ShopServer, order_id: OrderId) -> None:
    for number in range(MAX_FACTS):
        await shop.orders.append_fact(order_id, ShipmentFact(f"fact-{number}", 0, "shipped"), message=b"")
    response = await send(shop, {"order_id": order_id, "status": "shipped"})
    assert (response.status, response.json()["type"]) == (409, "/problems/too-many-reports")
