"""The watch over orders that need a person, and what an operator can do about them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec
import pytest

from cart.memory import MemoryCarts
from cart.model import OrderId
from checkout.attention import AttentionWatch, NotSetAside, OrderDesk, OrdersNeedAttention
from checkout.dispatch import Dispatch
from checkout.errors import CancelTooLate, OrderElsewhere, OrderNotFound, ServiceUnavailable
from checkout.fact_intake import FactIntake
from checkout.memory.orders import MemoryOrders
from checkout.message import order_accepted
from checkout.order import Order
from checkout.order_status import CancelReason, OrderStatus
from checkout.outbox import OutboxDispatcher, outgoing
from checkout.ports.outbox import OutboxEntry
from checkout.shipping.desk import ShipmentDesk, ShipmentMark
from checkout.worker import OrderWorker
from tests.unit.checkout.fake_services import FakeServices, MemoryQueue, an_order, leave_to_the_sweep
from tests.unit.checkout.test_processor import Port, never, process_all
from tests.virtual_time import in_virtual_time, loop_time
from tests.waiting import until


@pytest.fixture
def services() -> FakeServices:
    return FakeServices()


def desk_of(services: FakeServices) -> OrderDesk:
    return OrderDesk(services.orders, services.progress, message=order_accepted, dispatch=leave_to_the_sweep)


async def set_aside(services: FakeServices) -> Order:
    """An order whose capture was never answered."""
    order = await services.accept()
    await process_all(services.processor(ports={"payments": Port(services.payments, "capture", never)}), order)
    return services.now(order)


async def work_off_the_outbox(services: FakeServices) -> None:
    queue = MemoryQueue()
    unsent = await services.orders.unsent(per_partition=10)
    await queue.send([outgoing(entry) for entry in unsent])
    worker = OrderWorker(queue, services.processor().process)
    running = asyncio.ensure_future(worker.run())
    while len(queue):  # noqa: ASYNC110  waiting is free in virtual time
        await asyncio.sleep(0.1)
    worker.stop()
    await running


@in_virtual_time
async def test_nothing_needs_attention_in_a_new_shop(services: FakeServices) -> None:
    watch = AttentionWatch(services.progress, MemoryQueue())
    await watch.count()
    await watch.check()
    assert (watch.orders, watch.dead_letters) == (0, 0)


@in_virtual_time
async def test_orders_and_dead_letters_are_counted_for_readiness(services: FakeServices) -> None:
    queue = MemoryQueue()
    watch = AttentionWatch(services.progress, queue)
    running = asyncio.ensure_future(watch.run())
    await set_aside(services)
    await asyncio.sleep(20)
    with pytest.raises(OrdersNeedAttention, match=r"^1 order needs attention$"):
        await watch.check()

    await set_aside(services)
    await set_aside(services)
    queue.dead.append((b"odd", "odd"))
    await asyncio.sleep(20)
    with pytest.raises(OrdersNeedAttention, match=r"^3 orders need attention, 1 message is a dead letter$"):
        await watch.check()
    running.cancel()


@in_virtual_time
async def test_the_counts_stay_while_they_cannot_be_read(services: FakeServices) -> None:
    class Away(MemoryQueue):
        async def count_dead_letters(self) -> int | None:
            raise ServiceUnavailable("away")

    watch = AttentionWatch(services.progress, Away())
    running = asyncio.ensure_future(watch.run())
    await set_aside(services)
    await asyncio.sleep(20)
    assert watch.orders == 1
    assert not running.done()
    running.cancel()


@in_virtual_time
async def test_an_operator_can_retry_an_order(services: FakeServices) -> None:
    order = await set_aside(services)

    await desk_of(services).retry(order.id)
    await work_off_the_outbox(services)

    assert services.now(order).status is OrderStatus.COMPLETED
    assert not await desk_of(services).needing_attention()


@in_virtual_time
async def test_an_operator_can_cancel_an_order_so_that_payment_and_stock_are_returned(services: FakeServices) -> None:
    order = await set_aside(services)
    assert services.sold() == 2

    await desk_of(services).cancel(order.id)
    await work_off_the_outbox(services)

    now = services.now(order)
    assert (now.status, now.reason) == (OrderStatus.CANCELLED, CancelReason.REQUESTED)
    assert [state.value for state in services.ledger(order)] == ["authorised", "voided"]
    assert services.sold() == services.captured() == 0
    assert order.id in services.shipping.cancelled
    assert not await desk_of(services).needing_attention()


@in_virtual_time
async def test_an_operator_can_have_a_cancellation_finished(services: FakeServices) -> None:
    order = await services.accept(token="tok_declined")
    await process_all(services.processor(ports={"payments": Port(services.payments, "void", never)}), order)
    assert [entry.order_id for entry in await desk_of(services).needing_attention()] == [order.id]

    await desk_of(services).cancel(order.id)
    await work_off_the_outbox(services)

    assert [state.value for state in services.ledger(order)] == ["voided"]
    assert not await desk_of(services).needing_attention()


@in_virtual_time
async def test_other_orders_are_not_retried_and_completed_ones_not_cancelled(services: FakeServices) -> None:
    order = await services.accept()
    desk = desk_of(services)
    with pytest.raises(NotSetAside):
        await desk.retry(order.id)
    await services.processor().process(order.id)
    with pytest.raises(CancelTooLate):
        await desk.cancel(order.id)
    for act in (desk.retry, desk.cancel):
        with pytest.raises(OrderNotFound):
            await act(OrderId("7f" + "a" * 24))


@in_virtual_time
async def test_a_shopper_can_cancel_an_order_that_needs_attention(services: FakeServices) -> None:
    order = await services.accept()
    await services.progress.set_aside(order.id, "worker", reason="odd")

    await services.orders.cancel(order, at=order.created_at, message=order_accepted(order))
    await work_off_the_outbox(services)

    assert services.sold() == 0
    assert not await desk_of(services).needing_attention()


class CopiesOfAnotherRegion(MemoryOrders):
    """The orders of a shop whose archive has one that another Region works on."""

    async def read(self, order_id: OrderId) -> Order | None:
        return msgspec.structs.replace(an_order(), id=order_id, home="us-east-1")


@pytest.mark.parametrize(
    "act",
    [
        lambda desk: desk.cancel(an_order().id),
        lambda desk: desk.retry(an_order().id),
        lambda desk: desk.retry_from(an_order().id, "notify"),
        lambda desk: desk.refund(an_order().id, key="once"),
    ],
    ids=["cancel", "retry", "retry_from", "refund"],
)
async def test_an_order_of_another_region_is_left_to_the_operators_there(
    services: FakeServices, act: Callable[[OrderDesk], Awaitable[None]]
) -> None:
    desk = OrderDesk(
        CopiesOfAnotherRegion(MemoryCarts()), services.progress, message=order_accepted, dispatch=leave_to_the_sweep
    )
    with pytest.raises(OrderElsewhere, match="us-east-1"):
        await act(desk)


# The messages of acts


@asynccontextmanager
async def worked_off_without_sweeps(services: FakeServices) -> AsyncIterator[Dispatch]:
    """Workers that receive what is dispatched, and nothing else of the outbox."""
    queue = MemoryQueue()
    dispatcher = OutboxDispatcher(services.orders, queue, clock=loop_time)
    worker = OrderWorker(queue, services.processor().process)
    running = [asyncio.ensure_future(each) for each in (dispatcher.send(), worker.run())]
    yield dispatcher.submit
    for task in running:
        task.cancel()
    await asyncio.wait(running)


async def declined_and_not_voided(services: FakeServices) -> Order:
    """A cancelled order that was set aside."""
    order = await services.accept(token="tok_declined")
    await process_all(services.processor(ports={"payments": Port(services.payments, "void", never)}), order)
    return order


async def completed(services: FakeServices) -> Order:
    return await services.run(await services.accept())


def desk_that(services: FakeServices, dispatch: Dispatch) -> OrderDesk:
    return OrderDesk(services.orders, services.progress, message=order_accepted, dispatch=dispatch)


@dataclass(frozen=True)
class Act:
    """An act of an operator on an order, and whether it is carried out."""

    order: Callable[[FakeServices], Awaitable[Order]]
    act: Callable[[FakeServices, Dispatch, OrderId], Awaitable[object]]
    is_done: Callable[[FakeServices, Order], bool]


async def mark_shipped(services: FakeServices, dispatch: Dispatch, order_id: OrderId) -> None:
    intake = FactIntake(services.orders, message=order_accepted, dispatch=dispatch)
    await ShipmentDesk(services.orders, intake).mark(order_id, ShipmentMark(status="shipped"))


ACTS = {
    "retry": Act(
        set_aside,
        lambda services, dispatch, order_id: desk_that(services, dispatch).retry(order_id),
        lambda services, order: services.now(order).status is OrderStatus.COMPLETED,
    ),
    "retry_from": Act(
        completed,
        lambda services, dispatch, order_id: desk_that(services, dispatch).retry_from(order_id, "notify"),
        lambda services, order: services.notifications.notified[order.id] == 2,
    ),
    "refund": Act(
        completed,
        lambda services, dispatch, order_id: desk_that(services, dispatch).refund(order_id, key="once"),
        lambda services, order: services.now(order).refunded == order.total,
    ),
    "cancel": Act(
        set_aside,
        lambda services, dispatch, order_id: desk_that(services, dispatch).cancel(order_id),
        lambda services, order: services.sold() == 0,
    ),
    "cancel again": Act(
        declined_and_not_voided,
        lambda services, dispatch, order_id: desk_that(services, dispatch).cancel(order_id),
        lambda services, order: [state.value for state in services.ledger(order)] == ["voided"],
    ),
    "mark": Act(completed, mark_shipped, lambda services, order: services.now(order).status is OrderStatus.SHIPPED),
}


@pytest.fixture(params=list(ACTS.values()), ids=list(ACTS))
def act(request: pytest.FixtureRequest) -> Act:
    chosen: Act = request.param
    return chosen


@in_virtual_time
async def test_an_act_is_carried_out_though_the_outbox_is_never_swept(services: FakeServices, act: Act) -> None:
    order = await act.order(services)
    assert not act.is_done(services, order)
    async with worked_off_without_sweeps(services) as dispatch:
        began_at = loop_time()
        await act.act(services, dispatch, order.id)
        await until(lambda: act.is_done(services, order))
        assert loop_time() < began_at + 1


@in_virtual_time
async def test_an_act_succeeds_though_its_message_cannot_be_dispatched(
    services: FakeServices, act: Act, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(entry: OutboxEntry) -> None:
        raise ServiceUnavailable("away")

    order = await act.order(services)
    await act.act(services, fail, order.id)
    assert f"order {order.number} is sent to the queue later" in caplog.text
    assert not act.is_done(services, order)

    await work_off_the_outbox(services)
    assert act.is_done(services, order)
