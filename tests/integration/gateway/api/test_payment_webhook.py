"""The webhook of a payment service: signed, recent, durable when it is answered, and with one effect."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from cart.ids import new_cart_id, order_id_for
from cart.model import OrderId
from checkout.facts import Fact, PaymentFact
from gateway.api.webhook_routes import MAX_EVENT
from primitives.webhook_signature import WebhookSigner, new_secret
from tests.integration.gateway.shop_server import BOX, PAYMENT_SECRET, ShopServer, shop_server
from tests.raw_http import RawResponse

SIGNER = WebhookSigner(PAYMENT_SECRET)
PATH = "/v1/webhooks/payment"


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


def captured(order_id: str, **members: Any) -> dict[str, Any]:
    return {
        "type": "payment.captured",
        "order_id": order_id,
        "at": "2026-11-27T14:30:00Z",
        "amount": 595,
        "reference": "pay_1",
    } | members


async def send(
    shop: ShopServer, event: Any, *, webhook_id: str = "msg_1", signer: WebhookSigner = SIGNER, signed: Any = None
) -> RawResponse:
    body = orjson.dumps(event)
    headers = signer.headers(webhook_id, orjson.dumps(event if signed is None else signed))
    return await shop.call("POST", PATH, body, *(f"{name}: {value}" for name, value in headers.items()))


async def test_a_report_is_appended_to_its_order_once(shop: ShopServer, order_id: OrderId) -> None:
    for _ in range(5):
        response = await send(shop, captured(order_id, unknown="members are ignored"))
        assert (response.status, response.body) == (204, b"")

    assert await facts(shop, order_id) == (
        PaymentFact(id="payment:msg_1", at=1_795_789_800_000, became="captured", amount=595, reference="pay_1"),
    )


async def test_a_report_that_is_signed_wrongly_changes_nothing(shop: ShopServer, order_id: OrderId) -> None:
    event = captured(order_id)
    refusals = [
        await send(shop, event, signer=WebhookSigner(new_secret())),
        await send(shop, event, signed=captured(order_id, amount=1)),
        await send(shop, event, signer=WebhookSigner(PAYMENT_SECRET, clock=lambda: time.time() - 3600)),
        await send(shop, event, signer=WebhookSigner(PAYMENT_SECRET, clock=lambda: time.time() + 3600)),
        await shop.call("POST", PATH, event),
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
        response = await send(shop, captured(order_id))

    assert response.status == 204
    assert "about an order of another shop" in caplog.text
    assert order_id not in caplog.text
    assert "pay_1" not in caplog.text


async def test_an_event_that_is_no_report_on_a_payment_is_accepted(shop: ShopServer, order_id: OrderId) -> None:
    assert (await send(shop, captured(order_id, type="payout.paid"))).status == 204
    assert not await facts(shop, order_id)


@pytest.mark.parametrize("event", [{"type": "payment.captured"}, [], captured("x", amount="much")])
async def test_a_signed_body_that_is_no_event_is_refused(shop: ShopServer, event: Any) -> None:
    assert (await send(shop, event)).status == 422


async def test_a_body_over_the_limit_is_refused_before_it_is_read(shop: ShopServer, order_id: OrderId) -> None:
    response = await send(shop, captured(order_id, padding="x" * MAX_EVENT))
    assert response.status == 413
    assert not await facts(shop, order_id)
