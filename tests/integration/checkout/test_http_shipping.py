"""Shipping over HTTP, with a service that fails: nothing is booked twice, and the address goes nowhere else."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import get_args

import aiohttp
import msgspec
import pytest
from aiohttp.test_utils import TestServer

from benchmarks.upstreams.shipping import KEY_LIFE_S, REFUSED_COUNTRY, Fault, ShippingService
from checkout.errors import Declined, ServiceNotReached, ServiceUnavailable
from checkout.order import HistoryEntry, Order
from checkout.shipping.http_shipping import HttpShipping
from primitives.webhook_signature import WebhookSigner, new_secret
from tests.unit.checkout.fake_services import NOW, an_order

SECRET = new_secret()
FAULTS: tuple[Fault, ...] = get_args(Fault)


class Trial:
    """A shipping service and its adapter, on one clock."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.service = ShippingService(WebhookSigner(SECRET), clock=lambda: self.now_s)
        self.url = ""

    def shipping(self, session: aiohttp.ClientSession, *, secret: str = SECRET, call_s: float = 5.0) -> HttpShipping:
        """An adapter as in a worker that has just started. Its clock is that of the orders."""
        return HttpShipping(
            session,
            self.url,
            WebhookSigner(secret),
            clock_ms=lambda: NOW + round(self.now_s * 1000),
            call_s=call_s,
        )

    def count(self, order: Order) -> int:
        """How often the order is booked."""
        return len(self.service.bookings.get(order.id, ()))


@pytest.fixture
async def trial() -> AsyncIterator[Trial]:
    trial = Trial()
    async with TestServer(trial.service.application()) as server:
        trial.url = str(server.make_url("/"))
        yield trial


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_an_ordinary_order_takes_one_request(trial: Trial, session: aiohttp.ClientSession) -> None:
    shipment = await trial.shipping(session).arrange(an_order())

    assert trial.service.requests == {"book": 1, "cancel": 0, "look-up": 0}
    assert shipment.tracking_number is not None
    assert shipment.tracking_url == f"https://track.example/{shipment.tracking_number}"


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("later_s", [2.0, 2 * KEY_LIFE_S])
async def test_an_unknown_outcome_is_resolved_by_one_look_up(
    trial: Trial, session: aiohttp.ClientSession, fault: Fault, restarts: bool, later_s: float
) -> None:
    order = an_order()
    trial.service.faults = [fault]
    shipping = trial.shipping(session, call_s=0.2 if fault.startswith("hangs") else 5.0)
    with pytest.raises(ServiceUnavailable):
        await shipping.arrange(order)
    trial.now_s += later_s

    shipment = await (trial.shipping(session) if restarts else shipping).arrange(order)

    assert trial.count(order) == 1
    assert trial.service.bookings[order.id][0].reference == shipment.reference
    assert trial.service.requests["look-up"] == 1


async def test_an_order_that_fails_at_once_is_looked_up_before_it_is_booked_again(
    trial: Trial, session: aiohttp.ClientSession
) -> None:
    order = an_order()
    trial.service.faults = ["fails-after", None]
    shipping = trial.shipping(session)
    with pytest.raises(ServiceUnavailable):
        await shipping.arrange(order)

    await shipping.arrange(order)

    assert trial.service.requests == {"book": 1, "cancel": 0, "look-up": 1}
    assert trial.count(order) == 1


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_cancellation_without_a_response_is_repeated(
    trial: Trial, session: aiohttp.ClientSession, fault: Fault
) -> None:
    order, shipping = an_order(), trial.shipping(session, call_s=0.2 if fault.startswith("hangs") else 5.0)
    await shipping.arrange(order)
    trial.service.faults = [fault]
    if fault != "garbles-after":  # its status says that the cancellation was done
        with pytest.raises(ServiceUnavailable):
            await shipping.cancel(order)

    await shipping.cancel(order)

    assert [booking.status for booking in trial.service.bookings[order.id]] == ["cancelled"]


async def test_a_refusal_has_a_reason_and_nothing_of_the_address(trial: Trial, session: aiohttp.ClientSession) -> None:
    order = an_order()
    address = msgspec.structs.replace(order.shipping_address, country=REFUSED_COUNTRY)

    with pytest.raises(Declined) as refused:
        await trial.shipping(session).arrange(msgspec.structs.replace(order, shipping_address=address))

    assert refused.value.detail == "booking a shipment was refused: address not served"
    assert not trial.service.bookings


async def test_the_service_gets_the_address_and_neither_email_nor_payment_token(
    trial: Trial, session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    order = an_order(token="tok_secret")

    await trial.shipping(session).arrange(order)

    assert trial.service.addresses[order.id] == msgspec.to_builtins(order.shipping_address)
    assert "Lovelace" not in caplog.text


async def test_an_order_waits_for_a_service_that_rejects_all_requests(
    trial: Trial, session: aiohttp.ClientSession
) -> None:
    with pytest.raises(ServiceNotReached, match="status 401"):
        await trial.shipping(session, secret=new_secret()).arrange(an_order())
    trial.service.faults = ["rejects"]
    with pytest.raises(ServiceNotReached, match="status 503"):
        await trial.shipping(session).arrange(an_order())


async def test_an_order_waits_for_a_service_that_is_not_there(session: aiohttp.ClientSession, trial: Trial) -> None:
    trial.url = "http://127.0.0.1:9"

    with pytest.raises(ServiceNotReached, match="ClientConnectorError"):
        await trial.shipping(session).arrange(an_order())


async def test_an_order_waits_for_the_look_up_of_its_booking(trial: Trial, session: aiohttp.ClientSession) -> None:
    order, shipping = an_order(), trial.shipping(session)
    trial.service.faults = ["fails-after"]
    with pytest.raises(ServiceUnavailable):
        await shipping.arrange(order)

    with pytest.raises(ServiceNotReached, match="looking a shipment up"):
        await trial.shipping(session, secret=new_secret()).arrange(
            msgspec.structs.replace(order, history=(HistoryEntry(order.status, NOW - 60_000),))
        )

    assert trial.count(order) == 1


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "/relative"])
async def test_a_tracking_page_that_is_no_web_page_is_left_out(
    trial: Trial, session: aiohttp.ClientSession, url: str
) -> None:
    order, shipping = an_order(), trial.shipping(session)
    await shipping.arrange(order)
    trial.service.bookings[order.id][0].tracking_url = url
    trial.now_s += 2.0

    assert (await shipping.arrange(order)).tracking_url is None
