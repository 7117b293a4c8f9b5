"""Reports on the shipment of an order: in any sequence, repeated, early and late."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from checkout.errors import StatusConflict
from checkout.facts import ShipmentFact
from checkout.order import Order
from checkout.order_status import CancelReason, OrderStatus
from checkout.shipping.facts import RESTOCKED, ShipmentReports
from checkout.shipping.shipment import Shipment
from tests.unit.checkout.fake_services import IN_STOCK, NOW, FakeServices

STATUSES = ("shipped", "delivered", "returned")


class Reported(FakeServices):
    """A shop whose orders take reports."""

    async def report(self, order: Order, *facts: ShipmentFact) -> Order:
        """Append the facts and run the order."""
        for fact in facts:
            await self.orders.append_fact(order.id, fact, message=b"")
        return await self.run(order)

    async def completed(self) -> Order:
        return await self.run(await self.accept())


@pytest.fixture
def shop() -> Reported:
    return Reported()


def fact(became: str, *, of: str = "", at: int = NOW, **members: object) -> ShipmentFact:
    return msgspec.convert(
        {"kind": "shipment", "id": of or became, "at": at, "became": became, **members}, ShipmentFact
    )


def after_completed(order: Order) -> list[str]:
    statuses = [entry.status.value for entry in order.history]
    return statuses[statuses.index("completed") + 1 :]


async def test_an_order_is_shipped_delivered_and_returned(shop: Reported) -> None:
    order = await shop.completed()
    for status in STATUSES:
        order = await shop.report(order, fact(status))
        assert order.status == status
    assert after_completed(order) == list(STATUSES)
    assert not order.facts
    assert shop.sold() == 2


@pytest.mark.parametrize("sequence", list(itertools.permutations(STATUSES)))
async def test_of_reports_in_any_sequence_the_latest_status_stands(shop: Reported, sequence: tuple[str, ...]) -> None:
    order = await shop.completed()
    for status in sequence:
        order = await shop.report(order, fact(status))
    assert order.status is OrderStatus.RETURNED
    # Each status is passed at most once, and none after a later one.
    assert after_completed(order) == [
        status
        for number, status in enumerate(sequence)
        if all(STATUSES.index(status) > STATUSES.index(earlier) for earlier in sequence[:number])
    ]
    assert not order.facts


async def test_a_report_that_is_repeated_five_times_has_one_effect(shop: Reported) -> None:
    order = await shop.completed()
    # With the same id, and with ids of their own.
    repeats = [fact("shipped") for _ in range(5)] + [fact("shipped", of=f"again-{number}") for number in range(5)]
    order = await shop.report(order, *repeats)
    assert after_completed(order) == ["shipped"]


async def test_reports_before_the_order_is_completed_wait_for_it(shop: Reported) -> None:
    order = await shop.accept()
    order = await shop.report(order, fact("delivered"), fact("shipped"))
    assert order.status is OrderStatus.DELIVERED
    assert after_completed(order) == ["delivered"]
    assert not order.facts


async def test_a_report_on_a_cancelled_order_changes_nothing(shop: Reported) -> None:
    order = await shop.accept()
    await shop.orders.append_fact(order.id, fact("shipped"), message=b"")
    stored = shop.now(order)
    await shop.orders.transition(stored, OrderStatus.CANCELLED, at=NOW, reason=CancelReason.REQUESTED)
    order = await shop.run(order)
    assert [entry.status for entry in order.history] == [OrderStatus.ACCEPTED, OrderStatus.CANCELLED]
    assert not order.facts
    assert shop.sold() == 0


async def test_a_report_adds_what_it_says_of_the_tracking(shop: Reported) -> None:
    order = await shop.completed()
    order = await shop.report(
        order, fact("shipped", carrier="Royal Mail", tracking="AB1", tracking_url="https://t.example/AB1")
    )
    assert order.shipment is not None
    assert order.shipment == Shipment(order.shipment.reference, "Royal Mail", "AB1", "https://t.example/AB1")
    delivered = await shop.report(order, fact("delivered"))
    assert delivered.shipment == order.shipment


async def test_an_erased_order_takes_no_tracking(shop: Reported) -> None:
    order = await shop.completed()
    erased = msgspec.structs.replace(order, erased_at=NOW)
    shop.orders.orders[order.id] = msgspec.structs.replace(shop.orders.orders[order.id], order=erased)
    shipped = await shop.report(order, fact("shipped", tracking="AB1"))
    assert (shipped.status, shipped.shipment) == (OrderStatus.SHIPPED, order.shipment)


async def test_an_order_that_was_completed_without_a_record_of_its_shipment_gets_one(shop: Reported) -> None:
    order = await shop.completed()
    earlier = msgspec.structs.replace(order, shipment=None)
    shop.orders.orders[order.id] = msgspec.structs.replace(shop.orders.orders[order.id], order=earlier)
    order = await shop.report(earlier, fact("shipped", tracking="AB1"))
    assert order.shipment == Shipment(order.number, "unknown", "AB1")


async def test_the_goods_of_a_returned_order_are_put_back_once(shop: Reported) -> None:
    order = await shop.completed()
    assert shop.sold() == 2
    order = await shop.report(
        order, fact("returned", of="carrier", restock=True), fact("returned", of="desk", restock=True)
    )
    assert shop.stock.available == {order.lines[0].sku: IN_STOCK}
    assert (order.history[-1].status, order.history[-1].detail) == (OrderStatus.RETURNED, RESTOCKED)
    assert after_completed(order) == ["returned"]


async def test_the_goods_may_be_put_back_after_the_return(shop: Reported) -> None:
    order = await shop.completed()
    order = await shop.report(order, fact("returned"))
    assert shop.sold() == 2
    order = await shop.report(order, fact("returned", of="desk", restock=True))
    assert shop.sold() == 0
    assert [(entry.status, entry.detail) for entry in order.history[-2:]] == [
        (OrderStatus.RETURNED, None),
        (OrderStatus.RETURNED, RESTOCKED),
    ]


async def test_only_a_return_puts_goods_back(shop: Reported) -> None:
    order = await shop.report(await shop.completed(), fact("delivered", restock=True))
    assert not order.restocked
    assert shop.sold() == 2


async def test_a_worker_that_dies_after_it_put_goods_back_does_not_do_it_twice(shop: Reported) -> None:
    order = await shop.completed()
    report = fact("returned", restock=True)
    await shop.orders.append_fact(order.id, report, message=b"")
    reports = ShipmentReports(shop.stock)
    lost = await reports.apply(shop.now(order), report)  # never stored
    assert lost is not None

    order = await shop.run(order)

    assert order.restocked
    assert shop.sold() == 0
    with pytest.raises(StatusConflict):
        await shop.orders.update(msgspec.structs.replace(lost, revision=lost.revision - 1), lost)


async def test_the_time_of_a_report_is_never_ahead_of_the_shop(shop: Reported) -> None:
    reports = ShipmentReports(shop.stock, clock_ms=lambda: NOW + 5)
    order = msgspec.structs.replace(await shop.completed(), updated_at=NOW)
    shipped = await reports.apply(order, fact("shipped", at=NOW + 86_400_000))
    assert shipped is not None
    assert shipped.history[-1].at == NOW + 5
