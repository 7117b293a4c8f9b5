"""What every adapter of the shipping port does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from benchmarks.upstreams.shipping import ShippingService
from cart.model import OrderId
from checkout.errors import Declined
from checkout.ports.services import Shipping
from checkout.shipping.http_shipping import HttpShipping
from checkout.shipping.sandbox import SandboxShipping
from primitives.webhook_signature import WebhookSigner, new_secret
from tests.unit.checkout.fake_services import an_order


class Carrier(Protocol):
    """An adapter, and what is booked by it."""

    @property
    def shipping(self) -> Shipping: ...

    def booked(self) -> Sequence[OrderId]:
        """The orders that are booked now, one more time for each further booking."""
        ...


class SandboxCarrier:
    def __init__(self) -> None:
        self.shipping = SandboxShipping()

    def booked(self) -> Sequence[OrderId]:
        return [order_id for order_id, _ in self.shipping.booked.items()]


class HttpCarrier:
    def __init__(self, service: ShippingService, shipping: HttpShipping) -> None:
        self.shipping = shipping
        self._service = service

    def booked(self) -> Sequence[OrderId]:
        return [
            OrderId(order_id)
            for order_id, bookings in self._service.bookings.items()
            for booking in bookings
            if booking.status == "booked"
        ]


@pytest.fixture(params=["sandbox", "http"])
async def carrier(request: pytest.FixtureRequest) -> AsyncIterator[Carrier]:
    if request.param == "sandbox":
        yield SandboxCarrier()
        return
    signer = WebhookSigner(new_secret())
    service = ShippingService(signer)
    async with TestServer(service.application()) as server, aiohttp.ClientSession() as session:
        yield HttpCarrier(service, HttpShipping(session, str(server.make_url("/")), signer))


async def test_a_shipment_is_booked_once(carrier: Carrier) -> None:
    order = an_order()

    first = await carrier.shipping.arrange(order)
    again = await carrier.shipping.arrange(order)

    assert first == again
    assert first.reference
    assert first.carrier
    assert carrier.booked() == [order.id]


async def test_bookings_of_one_order_at_the_same_time_are_one(carrier: Carrier) -> None:
    order = an_order()

    shipments = await asyncio.gather(*(carrier.shipping.arrange(order) for _ in range(5)))

    assert len(set(shipments)) == 1
    assert carrier.booked() == [order.id]


async def test_each_order_has_a_shipment_of_its_own(carrier: Carrier) -> None:
    one, other = an_order(), an_order()

    shipments = [await carrier.shipping.arrange(order) for order in (one, other)]

    assert shipments[0].reference != shipments[1].reference
    assert sorted(carrier.booked()) == sorted([one.id, other.id])


async def test_a_cancelled_shipment_is_not_booked_and_may_be_cancelled_again(carrier: Carrier) -> None:
    order = an_order()
    await carrier.shipping.arrange(order)

    await carrier.shipping.cancel(order)
    await carrier.shipping.cancel(order)

    assert not carrier.booked()


async def test_a_booking_after_its_cancellation_has_no_effect(carrier: Carrier) -> None:
    order = an_order()

    await carrier.shipping.cancel(order)
    with pytest.raises(Declined, match="cancelled"):
        await carrier.shipping.arrange(order)

    assert not carrier.booked()


async def test_a_booked_shipment_that_was_cancelled_is_not_booked_again(carrier: Carrier) -> None:
    order = an_order()
    await carrier.shipping.arrange(order)
    await carrier.shipping.cancel(order)

    with pytest.raises(Declined, match="cancelled"):
        await carrier.shipping.arrange(order)

    assert not carrier.booked()
