"""An operator has an order run again from a step: what runs, and what is refused."""

import asyncio

import msgspec
import pytest

from checkout.attention import OrderDesk
from checkout.errors import CannotRunAgain, OrderNotFound, UnknownWorkflow
from checkout.facts import RetryFrom
from checkout.message import order_accepted
from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.payments.payment import Payment
from checkout.payments.sandbox import CAPTURE_TIMEOUT, PaymentState
from checkout.workflow.orders import VERSION_1
from tests.unit.checkout.fake_services import FakeServices, an_order, leave_to_the_sweep
from tests.virtual_time import in_virtual_time

DONE_ONCE = [PaymentState.AUTHORISED, PaymentState.CAPTURED]
S = OrderStatus


@pytest.fixture
def services() -> FakeServices:
    return FakeServices()


def desk(services: FakeServices) -> OrderDesk:
    return OrderDesk(services.orders, services.progress, message=order_accepted, dispatch=leave_to_the_sweep)


async def in_status(services: FakeServices, status: OrderStatus) -> Order:
    order = await services.accept()
    for to in (S.STOCK_CONFIRMED, S.PAYMENT_AUTHORISED, S.SHIPPING_ARRANGED, S.COMPLETED, S.SHIPPED):
        if order.status is status:
            break
        order = await services.orders.transition(order, to, at=order.created_at)
    return order


ALLOWED = {
    (S.ACCEPTED, "enter_in_index"): [],
    (S.ACCEPTED, "confirm_stock"): [],
    (S.STOCK_CONFIRMED, "enter_in_index"): ["enter_in_index", "confirm_stock"],
    (S.STOCK_CONFIRMED, "confirm_stock"): ["confirm_stock"],
    (S.STOCK_CONFIRMED, "authorise_payment"): [],
    (S.PAYMENT_AUTHORISED, "arrange_shipping"): [],
    (S.SHIPPING_ARRANGED, "capture_payment"): [],
    (S.SHIPPING_ARRANGED, "notify"): [],
    (S.COMPLETED, "notify"): ["notify"],
    (S.SHIPPED, "notify"): ["notify"],
}


@pytest.mark.parametrize("status", [S.ACCEPTED, S.STOCK_CONFIRMED, S.PAYMENT_AUTHORISED, S.SHIPPING_ARRANGED,
                                    S.COMPLETED, S.SHIPPED, S.CANCELLED])  # fmt: skip
@pytest.mark.parametrize("step", [row.name for row in VERSION_1.rows])
def test_a_step_runs_again_only_where_that_neither_charges_nor_books_nor_skips(status: OrderStatus, step: str) -> None:
    if (status, step) in ALLOWED:
        assert [row.name for row in VERSION_1.rows_to_repeat(status, step)] == ALLOWED[status, step]
        return
    with pytest.raises(CannotRunAgain, match=r"charge or book again|other steps come first|cancelled"):
        VERSION_1.rows_to_repeat(status, step)


@in_virtual_time
async def test_the_notification_of_a_completed_order_is_sent_once_more(services: FakeServices) -> None:
    order = await services.accept()
    processor = services.processor()
    await processor.process(order.id)

    await desk(services).retry_from(order.id, "notify")
    await desk(services).retry_from(order.id, "notify")  # the same command given twice
    assert await processor.process(order.id) is None

    assert services.notifications.notified[order.id] == 2
    assert services.ledger(order) == DONE_ONCE
    assert services.now(order).status is S.COMPLETED
    assert not services.now(order).facts
    assert order.id not in services.orders.in_flight


@in_virtual_time
async def test_an_order_that_was_set_aside_continues_from_its_status(services: FakeServices) -> None:
    order = await services.accept(token=CAPTURE_TIMEOUT)
    processor = services.processor(patience_s=60.0)
    laters = []
    while (later := await processor.process(order.id)) is not None:
        laters.append(later)
        await asyncio.sleep(later.delay_s)
    assert services.now(order).status is S.SHIPPING_ARRANGED
    assert await services.progress.count_needing_attention() == 1
    stored = services.orders.orders[order.id]
    services.orders.orders[order.id] = msgspec.structs.replace(
        stored, order=msgspec.structs.replace(stored.order, payment_token="tok_ok")
    )

    await desk(services).retry_from(order.id, "capture_payment")
    assert await processor.process(order.id) is None

    assert services.now(order).status is S.COMPLETED
    assert services.ledger(order) == DONE_ONCE
    assert await services.progress.count_needing_attention() == 0


@in_virtual_time
async def test_steps_that_are_done_run_again_before_the_order_goes_on(services: FakeServices) -> None:
    order = await in_status(services, S.STOCK_CONFIRMED)

    await desk(services).retry_from(order.id, "enter_in_index")
    await services.run(order)

    assert await services.index.by_number(order.number) == [order.id]
    assert services.now(order).status is S.COMPLETED
    assert services.ledger(order) == DONE_ONCE
    assert services.sold() == 2


@in_virtual_time
async def test_what_would_charge_or_book_again_is_refused_at_once(services: FakeServices) -> None:
    order = await in_status(services, S.SHIPPING_ARRANGED)

    with pytest.raises(CannotRunAgain, match="authorise_payment has succeeded, and would charge or book again"):
        await desk(services).retry_from(order.id, "authorise_payment")
    with pytest.raises(CannotRunAgain, match="no such step; the steps are enter_in_index, confirm_stock"):
        await desk(services).retry_from(order.id, "refund")

    assert not services.now(order).facts


@in_virtual_time
async def test_what_became_wrong_since_is_dropped_by_the_worker(services: FakeServices) -> None:
    order = await in_status(services, S.STOCK_CONFIRMED)
    await desk(services).retry_from(order.id, "confirm_stock")
    late = RetryFrom("late", 1, "authorise_payment")
    paid = msgspec.structs.replace(services.now(order), payment=Payment(reference="p1", authorised=order.total))
    moved = await services.orders.transition(paid, S.PAYMENT_AUTHORISED, at=order.created_at)
    await services.orders.append_fact(order.id, late, message=b"")

    await services.run(moved)

    assert services.now(order).status is S.COMPLETED
    assert not services.now(order).facts
    assert services.faults.calls.count("SandboxPayments.authorise") == 0


async def test_an_unknown_order_and_an_unknown_version_are_refused(services: FakeServices) -> None:
    with pytest.raises(OrderNotFound):
        await desk(services).retry_from(an_order().id, "notify")
    order = await services.accept()
    stored = services.orders.orders[order.id]
    services.orders.orders[order.id] = msgspec.structs.replace(
        stored, order=msgspec.structs.replace(stored.order, workflow=9)
    )
    with pytest.raises(UnknownWorkflow):
        await desk(services).retry_from(order.id, "notify")
