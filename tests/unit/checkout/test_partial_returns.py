"""Returns of some lines: they add up, put back what they name, and never exceed the order."""

from __future__ import annotations

import msgspec
import pytest

from cart.model import Sku
from checkout.fact_intake import FactIntake
from checkout.facts import ReturnedLine, ShipmentFact
from checkout.message import order_accepted
from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.shipping.desk import CannotMark, ShipmentDesk, ShipmentMark
from checkout.shipping.facts import RESTOCKED, ShipmentReports
from checkout.stored import decode_order, encode_order, encode_state
from tests.unit.checkout.fake_services import MUG, NOW, FakeServices, leave_to_the_sweep


@pytest.fixture
def services() -> FakeServices:
    return FakeServices()


@pytest.fixture
def desk(services: FakeServices) -> ShipmentDesk:
    intake = FactIntake(services.orders, message=order_accepted, dispatch=leave_to_the_sweep)
    return ShipmentDesk(services.orders, intake)


def mugs(quantity: int, return_id: str | None = "1", *, sku: Sku = MUG, restock: bool = True) -> ShipmentMark:
    return ShipmentMark(status="returned", restock=restock, lines=(ReturnedLine(sku, quantity),), return_id=return_id)


async def completed(services: FakeServices) -> Order:
    """An order of two mugs."""
    return await services.run(await services.accept())


async def test_returns_add_up_until_the_order_is_returned(services: FakeServices, desk: ShipmentDesk) -> None:
    order = await completed(services)

    await desk.mark(order.id, mugs(1, "first"))
    order = await services.run(order)
    assert (order.status, services.sold()) == (OrderStatus.COMPLETED, 1)
    assert order.history[-1].status is OrderStatus.COMPLETED
    assert order.history[-1].detail == f"returned: 1 of {MUG}; {RESTOCKED}"

    await desk.mark(order.id, mugs(1, "second"))
    order = await services.run(order)
    assert (order.status, services.sold(), order.restocked) == (OrderStatus.RETURNED, 0, True)


async def test_a_repeat_of_a_return_has_no_effect(services: FakeServices, desk: ShipmentDesk) -> None:
    order = await completed(services)
    for _ in range(2):
        await desk.mark(order.id, mugs(1))
    await services.run(order)
    await desk.mark(order.id, mugs(1))
    order = await services.run(order)
    assert (order.status, services.sold()) == (OrderStatus.COMPLETED, 1)


async def test_more_than_is_left_is_refused(services: FakeServices, desk: ShipmentDesk) -> None:
    order = await completed(services)
    with pytest.raises(CannotMark, match=f"3 of {MUG} cannot be returned: of 2 ordered, 2 are left"):
        await desk.mark(order.id, mugs(3))
    with pytest.raises(CannotMark, match="1 of vase cannot be returned: of 0 ordered, 0 are left"):
        await desk.mark(order.id, mugs(1, sku=Sku("vase")))
    await desk.mark(order.id, mugs(1, "pending"))
    with pytest.raises(CannotMark, match="of 2 ordered, 1 are left"):
        await desk.mark(order.id, mugs(2, "excess"))
    await services.run(order)
    with pytest.raises(CannotMark, match="of 2 ordered, 1 are left"):
        await desk.mark(order.id, mugs(2, "excess"))


async def test_an_excess_that_passed_the_entrance_is_a_note(services: FakeServices) -> None:
    order = await completed(services)
    for name in ("desk:1", "desk:2"):
        fact = ShipmentFact(name, NOW, "returned", restock=True, lines=(ReturnedLine(MUG, 2),))
        await services.orders.append_fact(order.id, fact, message=b"")
    order = await services.run(order)
    assert (order.status, services.sold()) == (OrderStatus.RETURNED, 0)
    assert order.history[-1].detail is not None
    assert order.history[-1].detail.startswith("a return is not applied: 2 of ")


async def test_a_whole_return_puts_back_only_what_is_not_in_stock_yet(
    services: FakeServices, desk: ShipmentDesk
) -> None:
    order = await completed(services)
    for mark in (mugs(1), ShipmentMark(status="returned", restock=True)):
        await desk.mark(order.id, mark)
    order = await services.run(order)
    assert (order.status, services.sold()) == (OrderStatus.RETURNED, 0)


async def test_goods_of_a_returned_order_may_be_put_back_in_parts(services: FakeServices, desk: ShipmentDesk) -> None:
    order = await completed(services)
    await desk.mark(order.id, mugs(2, "damaged", restock=False))
    order = await services.run(order)
    assert (order.status, services.sold()) == (OrderStatus.RETURNED, 2)
    await desk.mark(order.id, mugs(1, "one is sound"))
    order = await services.run(order)
    assert (services.sold(), order.restocked) == (1, False)
    with pytest.raises(CannotMark, match="of 2 ordered, 1 are left"):
        await desk.mark(order.id, mugs(2, "excess"))


async def test_a_worker_that_dies_before_it_stores_a_return_does_not_put_goods_back_twice(
    services: FakeServices,
) -> None:
    order = await completed(services)
    fact = ShipmentFact("desk:1", NOW, "returned", restock=True, lines=(ReturnedLine(MUG, 1),))
    await services.orders.append_fact(order.id, fact, message=b"")
    assert await ShipmentReports(services.stock).apply(services.now(order), fact) is not None  # never stored
    await services.run(order)
    assert services.sold() == 1


async def test_the_record_of_an_order_has_its_returns(services: FakeServices, desk: ShipmentDesk) -> None:
    order = await completed(services)
    await desk.mark(order.id, mugs(1))
    order = await services.run(order)
    read = decode_order(encode_order(order.as_accepted()), encode_state(order))
    assert read.line_returns == order.line_returns != ()


async def test_an_earlier_record_that_is_restocked_has_nothing_left(services: FakeServices, desk: ShipmentDesk) -> None:
    order = await completed(services)
    earlier = msgspec.structs.replace(order, status=OrderStatus.RETURNED, restocked=True)
    services.orders.orders[order.id] = msgspec.structs.replace(services.orders.orders[order.id], order=earlier)
    with pytest.raises(CannotMark):
        await desk.mark(order.id, mugs(1))


@pytest.mark.parametrize(
    ("mark", "fault"),
    [
        (mugs(1, None), "has a return_id"),
        (ShipmentMark(status="returned", return_id="1"), "has a return_id"),
        (ShipmentMark(status="shipped", lines=(ReturnedLine(MUG, 1),), return_id="1"), "only a return names lines"),
        (mugs(0), "is at least 1"),
        (ShipmentMark(status="returned", lines=(ReturnedLine(MUG, 1),) * 51, return_id="1"), "50 lines at most"),
    ],
)
def test_a_return_of_lines_is_complete(mark: ShipmentMark, fault: str) -> None:
    assert fault in (mark.fault() or "")


async def test_a_return_id_is_one_return(services: FakeServices, desk: ShipmentDesk) -> None:
    order = await completed(services)
    await desk.mark(order.id, mugs(1, "RMA-1"))
    order = await services.run(order)
    await desk.mark(order.id, mugs(1, "RMA-1", restock=False))
    order = await services.run(order)
    assert (order.status, services.sold()) == (OrderStatus.COMPLETED, 1)
