"""Operators report what became of a shipment: on the admin API's commands and at the desk behind them."""

from __future__ import annotations

from typing import Any

import pytest

from checkout.errors import OrderNotFound
from checkout.fact_intake import FactIntake
from checkout.message import order_accepted
from checkout.order import Order
from checkout.order_lists import OrderLists
from checkout.order_status import CancelReason, OrderStatus
from checkout.shipping.desk import CannotMark, ShipmentDesk, ShipmentMark
from gateway.admin.shipment_commands import ShipmentCommands
from gateway.control.commands import CommandFailed
from tests.unit.checkout.fake_services import NOW, FakeServices, an_order, leave_to_the_sweep

SHIPPED = ShipmentMark(status="shipped", carrier="Royal Mail", tracking="AB1")


@pytest.fixture
def services() -> FakeServices:
    return FakeServices()


@pytest.fixture
def desk(services: FakeServices) -> ShipmentDesk:
    intake = FactIntake(services.orders, message=order_accepted, dispatch=leave_to_the_sweep)
    return ShipmentDesk(services.orders, intake)


def returned(*, restock: bool) -> ShipmentMark:
    return ShipmentMark(status="returned", restock=restock)


async def completed(services: FakeServices) -> Order:
    return await services.run(await services.accept())


async def test_a_mark_is_applied_by_a_worker_that_gets_a_message(services: FakeServices, desk: ShipmentDesk) -> None:
    order = await completed(services)

    await desk.mark(order.id, SHIPPED)

    (entry,) = await services.orders.unsent(per_partition=10)
    assert entry.order_id == order.id
    shipped = await services.run(order)
    assert shipped.status is OrderStatus.SHIPPED
    assert shipped.shipment is not None
    assert (shipped.shipment.carrier, shipped.shipment.tracking_number) == ("Royal Mail", "AB1")


async def test_the_same_mark_by_two_operators_is_one_report(services: FakeServices, desk: ShipmentDesk) -> None:
    order = await completed(services)
    for _ in range(2):
        await desk.mark(order.id, SHIPPED)
    assert len(services.now(order).facts) == 1


async def test_an_order_that_is_not_completed_is_marked_once_it_is(services: FakeServices, desk: ShipmentDesk) -> None:
    order = await services.accept()
    before = await desk.mark(order.id, SHIPPED)
    assert not before.status.has_ended
    assert (await services.run(order)).status is OrderStatus.SHIPPED


async def test_goods_may_be_put_back_after_the_return_and_once(services: FakeServices, desk: ShipmentDesk) -> None:
    order = await completed(services)
    for mark in (returned(restock=False), returned(restock=True)):
        await desk.mark(order.id, mark)
        await services.run(order)
    assert services.sold() == 0
    with pytest.raises(CannotMark, match="the order is returned already"):
        await desk.mark(order.id, returned(restock=True))


async def test_an_order_that_is_further_on_or_cancelled_is_not_marked(
    services: FakeServices, desk: ShipmentDesk
) -> None:
    order = await completed(services)
    await desk.mark(order.id, ShipmentMark(status="delivered"))
    await services.run(order)
    with pytest.raises(CannotMark, match="the order is delivered already"):
        await desk.mark(order.id, SHIPPED)
    cancelled = await services.accept()
    await services.orders.transition(cancelled, OrderStatus.CANCELLED, at=NOW, reason=CancelReason.REQUESTED)
    with pytest.raises(CannotMark, match="the order is cancelled"):
        await desk.mark(cancelled.id, SHIPPED)
    with pytest.raises(OrderNotFound):
        await desk.mark(an_order().id, SHIPPED)


@pytest.mark.parametrize(
    ("mark", "fault"),
    [
        (ShipmentMark(status="shipped", restock=True), "only the goods of a returned order"),
        (ShipmentMark(status="shipped", tracking_url="javascript:alert(1)"), "begins with https://"),
    ],
)
async def test_what_is_no_report_is_refused(
    services: FakeServices, desk: ShipmentDesk, mark: ShipmentMark, fault: str
) -> None:
    with pytest.raises(CannotMark, match=fault):
        await desk.mark((await completed(services)).id, mark)


async def test_the_admin_api_marks_an_order_by_its_number(services: FakeServices, desk: ShipmentDesk) -> None:
    order = await completed(services)
    mark = ShipmentCommands(desk, OrderLists(services.orders, services.index)).by_name["mark_order"]

    await mark({"order": order.number, "status": "delivered"})

    assert (await services.run(order)).status is OrderStatus.DELIVERED


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [({"order": "no such number"}, "there is no such order"), ({}, "the order is returned already")],
)
async def test_the_admin_api_says_why_an_order_is_not_marked(
    services: FakeServices, desk: ShipmentDesk, arguments: dict[str, Any], reason: str
) -> None:
    order = await completed(services)
    await desk.mark(order.id, returned(restock=False))
    await services.run(order)
    mark = ShipmentCommands(desk, OrderLists(services.orders, services.index)).by_name["mark_order"]
    with pytest.raises(CommandFailed, match=reason):
        await mark({"order": order.id, "status": "shipped"} | arguments)
