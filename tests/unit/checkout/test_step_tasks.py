"""Tasks of an engine outside: each may be repeated, come late, or be given to two workers at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cart.model import OrderId
from checkout.errors import (
    Declined,
    OrderNotFound,
    ResolveLater,
    ServiceNotReached,
    ServiceUnavailable,
    StatusConflict,
    UnknownWorkflow,
)
from checkout.fact_handlers import fact_handlers
from checkout.facts import RefundRequest, RetryFrom, ShipmentFact
from checkout.order import Order
from checkout.order_status import CancelReason, OrderStatus
from checkout.payments.sandbox import PaymentState
from checkout.workflow.runner import order_steps
from checkout.workflow.step_tasks import Failure, NoResponse, OrderCancelled, StepTask, StepTasks
from tests.unit.checkout.fake_services import NOW, UNAVAILABLE, FakeServices, Fault, Faults, FaultyPort, an_order
from tests.virtual_time import in_virtual_time

STEPS = ["enter_in_index", "confirm_stock", "authorise_payment", "arrange_shipping", "capture_payment", "notify"]


class Shop(FakeServices):
    def __init__(self, faults: Faults | None = None) -> None:
        super().__init__(faults)
        orders: Any = FaultyPort(self.orders, self.faults)
        ports = self.ports(self.clock_ms)
        facts = fact_handlers(stock=ports["stock"], payments=ports["payments"], clock_ms=self.clock_ms)
        self._tasks = StepTasks(orders, order_steps(**ports), facts=facts, clock_ms=self.clock_ms)

    async def task(self, order: Order, act: Any, step: str = "", **more: Any) -> None:
        await self._tasks.run(StepTask(order_id=order.id, workflow=more.pop("workflow", 1), act=act, step=step, **more))

    async def up_to(self, order: Order, step: str) -> None:
        """Apply the steps before this one."""
        for each in STEPS[: STEPS.index(step)]:
            await self.task(order, "apply", each)


@pytest.fixture
def shop() -> Shop:
    return Shop()


@in_virtual_time
async def test_tasks_that_are_repeated_at_any_time_have_one_effect(shop: Shop) -> None:
    order = await shop.accept()
    for number, step in enumerate(STEPS):
        for each in STEPS[: number + 1]:
            await shop.task(order, "apply", each)
        await shop.task(order, "apply", step)
    await shop.task(order, "finish")
    await shop.task(order, "finish")

    assert shop.now(order).status is OrderStatus.COMPLETED
    assert shop.ledger(order) == [PaymentState.AUTHORISED, PaymentState.CAPTURED]
    assert shop.sold() == 2
    assert order.id not in shop.orders.in_flight


@in_virtual_time
async def test_a_task_that_two_workers_have_at_once_has_one_effect(shop: Shop) -> None:
    order = await shop.accept(token="tok_slow")
    await shop.up_to(order, "authorise_payment")

    await asyncio.gather(*(shop.task(order, "apply", "authorise_payment") for _ in range(2)))

    assert shop.now(order).status is OrderStatus.PAYMENT_AUTHORISED
    assert shop.ledger(order) == [PaymentState.AUTHORISED]


@in_virtual_time
async def test_a_step_of_a_cancelled_order_is_not_taken(shop: Shop) -> None:
    order = await shop.accept()
    await shop.orders.cancel(order, at=order.created_at, message=b"")

    with pytest.raises(OrderCancelled):
        await shop.task(order, "apply", "confirm_stock")


@in_virtual_time
async def test_an_order_that_is_cancelled_during_a_step_does_not_go_on(shop: Shop) -> None:
    order = await shop.accept(token="tok_slow")
    await shop.up_to(order, "authorise_payment")
    running = asyncio.ensure_future(shop.task(order, "apply", "authorise_payment"))
    await asyncio.sleep(1)
    await shop.orders.cancel(shop.now(order), at=order.created_at, message=b"")

    with pytest.raises(OrderCancelled):
        await running
    assert shop.now(order).reason is CancelReason.REQUESTED


@in_virtual_time
async def test_the_step_that_failed_cancels_also_when_it_had_an_effect_after_all(shop: Shop) -> None:
    order = await shop.accept()
    await shop.up_to(order, "arrange_shipping")  # its result was lost on the way to the engine
    failure = Failure("States.Timeout")

    await shop.task(order, "cancel", "authorise_payment", failure=failure)
    await shop.task(order, "cancel", "authorise_payment", failure=failure)
    for step in ("authorise_payment", "confirm_stock"):
        await shop.task(order, "undo", step)
    await shop.task(order, "finish")

    now = shop.now(order)
    assert (now.status, now.reason) == (OrderStatus.CANCELLED, CancelReason.PAYMENT_DECLINED)
    assert now.history[-1].detail == "no response"
    assert shop.ledger(order) == [PaymentState.AUTHORISED, PaymentState.VOIDED]
    assert shop.sold() == 0


@in_virtual_time
async def test_no_step_of_an_order_that_is_not_cancelled_is_undone(shop: Shop) -> None:
    order = await shop.accept()
    await shop.up_to(order, "arrange_shipping")

    with pytest.raises(StatusConflict):
        await shop.task(order, "undo", "authorise_payment")
    assert shop.ledger(order) == [PaymentState.AUTHORISED]


@in_virtual_time
async def test_a_completed_order_is_not_cancelled(shop: Shop) -> None:
    order = await shop.accept()
    await shop.up_to(order, "notify")
    await shop.task(order, "apply", "notify")

    with pytest.raises(ValueError, match="cannot become cancelled"):
        await shop.task(order, "cancel", "notify")


@in_virtual_time
async def test_a_step_that_is_left_out_is_named_in_the_history(shop: Shop) -> None:
    order = await shop.accept()
    await shop.up_to(order, "notify")

    await shop.task(order, "skip", "notify", failure=Failure("Declined", '{"errorMessage": "no address"}'))

    assert shop.now(order).status is OrderStatus.COMPLETED
    assert shop.now(order).history[-1].detail == "without notify: no address"


@pytest.mark.parametrize(
    ("raised", "named"),
    [
        (ServiceUnavailable("away"), NoResponse),
        (TimeoutError(), NoResponse),
        (Declined("no"), Declined),
        (ServiceNotReached("away"), ServiceNotReached),
        (ResolveLater("not known", retry_after_s=1.0), ResolveLater),
        (TypeError("a bug"), TypeError),
    ],
)
@in_virtual_time
async def test_errors_have_the_names_that_the_definition_catches(raised: Exception, named: type[Exception]) -> None:
    shop = Shop(Faults({"SandboxShipping.arrange": [Fault(raised)]}))
    order = await shop.accept()
    await shop.up_to(order, "arrange_shipping")

    with pytest.raises(named):
        await shop.task(order, "apply", "arrange_shipping")
    assert shop.now(order).status is OrderStatus.PAYMENT_AUTHORISED


@in_virtual_time
async def test_unknown_orders_and_versions_are_refused(shop: Shop) -> None:
    with pytest.raises(OrderNotFound):
        await shop.task(an_order(), "finish")
    with pytest.raises(UnknownWorkflow):
        await shop.task(await shop.accept(), "finish", workflow=9)


# --- facts


async def finished(shop: Shop) -> Order:
    order = await shop.accept()
    await shop.up_to(order, "notify")
    await shop.task(order, "apply", "notify")
    return order


@in_virtual_time
async def test_a_fact_that_comes_while_the_order_is_finished_is_applied(shop: Shop) -> None:
    order = await finished(shop)
    settle = shop.orders.settle

    async def settle_late(order: Order) -> bool:
        await shop.orders.append_fact(order.id, ShipmentFact("carrier:1", NOW, "shipped"), message=b"")
        return await settle(order)

    shop.orders.settle = settle_late  # type: ignore[method-assign]
    await shop.task(order, "finish")

    assert (shop.now(order).status, shop.now(order).facts) == (OrderStatus.SHIPPED, ())
    assert order.id not in shop.orders.in_flight


@in_virtual_time
async def test_a_refund_without_a_response_waits_and_is_made_once() -> None:
    shop = Shop(Faults({"SandboxPayments.refund": [UNAVAILABLE]}))
    order = await finished(shop)
    await shop.orders.append_fact(order.id, RefundRequest("refund:1", NOW, 100), message=b"")

    with pytest.raises(ResolveLater):
        await shop.task(order, "finish")
    await shop.task(order, "finish")
    await shop.task(order, "finish")

    assert shop.now(order).refunded == 100
    assert shop.ledger(order).count(PaymentState.REFUNDED) == 1


@in_virtual_time
async def test_two_tasks_at_once_apply_a_fact_once(shop: Shop) -> None:
    order = await finished(shop)
    await shop.orders.append_fact(order.id, ShipmentFact("carrier:1", NOW, "returned", restock=True), message=b"")

    await asyncio.gather(*(shop.task(order, "finish") for _ in range(3)))

    assert [entry.status for entry in shop.now(order).history].count(OrderStatus.RETURNED) == 1
    assert shop.sold() == 0


@in_virtual_time
async def test_a_wish_to_run_steps_again_is_left_to_an_order_worker(shop: Shop) -> None:
    order = await finished(shop)
    wish = RetryFrom("again", NOW, "notify")
    await shop.orders.append_fact(order.id, wish, message=b"")

    await shop.task(order, "finish")

    assert shop.now(order).facts == (wish,)
    assert order.id in shop.orders.in_flight


@in_virtual_time
async def test_a_fact_is_applied_to_an_order_that_another_worker_changes_meanwhile(shop: Shop) -> None:
    order = await finished(shop)
    await shop.orders.append_fact(order.id, ShipmentFact("carrier:1", NOW, "shipped"), message=b"")
    read = shop.orders.read
    reads = 0

    async def read_before_a_change(order_id: OrderId) -> Order | None:
        nonlocal reads
        reads += 1
        found = await read(order_id)
        if reads == 1:
            await shop.orders.update(shop.now(order), shop.now(order).revised())
        return found

    shop.orders.read = read_before_a_change  # type: ignore[method-assign]
    await shop.task(order, "finish")

    assert (shop.now(order).status, shop.now(order).facts) == (OrderStatus.SHIPPED, ())


@in_virtual_time
async def test_an_undo_stores_the_payment_that_it_voided(shop: Shop) -> None:
    order = await shop.accept()
    await shop.up_to(order, "arrange_shipping")
    await shop.task(order, "cancel", "arrange_shipping", failure=Failure("Declined"))
    await shop.task(order, "undo", "authorise_payment")

    payment = shop.now(order).payment
    assert payment is not None
    assert payment.voided
