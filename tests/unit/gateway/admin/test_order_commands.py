"""The operator's commands on orders, and what is shown of the order worker."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cart.model import OrderId
from checkout.attention import AttentionWatch, OrderDesk
from checkout.dead_letter_desk import DeadLetterDesk
from checkout.memory.order_index import MemoryOrderIndex
from checkout.memory.order_listing import MemoryOrderListing
from checkout.message import order_accepted
from checkout.order import Order
from checkout.order_search import OrderSearch
from checkout.order_status import OrderStatus
from checkout.ports.order_index import OrderIndex
from checkout.worker import OrderWorker
from gateway.admin.order_commands import OrderCommands
from gateway.admin.order_stats import OrderStats
from gateway.admin.step_times import StepTimes
from gateway.control.commands import CommandFailed
from tests.unit.checkout.fake_services import FakeServices, MemoryQueue, leave_to_the_sweep
from tests.unit.checkout.memory_dead_letters import MemoryDeadLetters
from tests.virtual_time import in_virtual_time


class SameNumber(MemoryOrderIndex):
    """An index in which these orders have any number."""

    def __init__(self, orders: Sequence[Order]) -> None:
        super().__init__()
        self._same = [order.id for order in orders]

    async def by_number(self, number: str) -> Sequence[OrderId]:
        return self._same


@pytest.fixture
def services() -> FakeServices:
    return FakeServices()


def commands_of(services: FakeServices) -> OrderCommands:
    desk = OrderDesk(services.orders, services.progress, message=order_accepted, dispatch=leave_to_the_sweep)
    return OrderCommands(desk, search_of(services), DeadLetterDesk(MemoryDeadLetters(MemoryQueue())))


def search_of(services: FakeServices, index: OrderIndex | None = None) -> OrderSearch:
    return OrderSearch(services.orders, index or services.index, MemoryOrderListing(services.orders), services.progress)


@in_virtual_time
async def test_orders_are_listed_with_id_number_time_and_reason(services: FakeServices) -> None:
    order = await services.accept()
    await services.progress.set_aside(order.id, "worker", reason="no response to it in 900 s")

    (entry,) = await commands_of(services).by_name["attention"]({})

    assert entry == {
        "id": order.id,
        "number": order.number,
        "since": "1970-01-01T00:00:00.000Z",
        "reason": "no response to it in 900 s",
    }


@in_virtual_time
async def test_an_order_is_retried_or_cancelled_by_its_id(services: FakeServices) -> None:
    retried, cancelled = await services.accept(), await services.accept()
    for order in (retried, cancelled):
        await services.progress.set_aside(order.id, "worker", reason="odd")
    commands = commands_of(services).by_name

    await commands["retry_order"]({"order": retried.id})
    await commands["cancel_order"]({"order": cancelled.id})

    assert services.now(cancelled).status is OrderStatus.CANCELLED
    posted = {entry.order_id for entry in await services.orders.unsent(per_partition=10)}
    assert posted == {retried.id, cancelled.id}


@in_virtual_time
async def test_an_order_is_found_and_acted_on_by_its_number_as_a_person_types_it(services: FakeServices) -> None:
    order = await services.accept()
    await services.index.enter(order)
    await services.progress.set_aside(order.id, "worker", reason="odd")
    commands = commands_of(services).by_name

    found = await commands["find_orders"]({"order": order.number.lower()})
    assert [each["id"] for each in found] == [order.id]
    await commands["cancel_order"]({"order": order.number.replace("-", " ")})

    assert services.now(order).status is OrderStatus.CANCELLED
    assert await commands["find_orders"]({"order": "22222-22222"}) == []


@in_virtual_time
async def test_of_orders_with_the_same_number_one_is_named_by_its_id(services: FakeServices) -> None:
    orders = [await services.accept(), await services.accept()]
    commands = OrderCommands(
        OrderDesk(services.orders, services.progress, message=order_accepted, dispatch=leave_to_the_sweep),
        search_of(services, SameNumber(orders)),
        DeadLetterDesk(MemoryDeadLetters(MemoryQueue())),
    ).by_name
    with pytest.raises(CommandFailed, match="2 orders have this number"):
        await commands["cancel_order"]({"order": "7KQ3M-XP4RT"})


@in_virtual_time
async def test_the_reason_of_a_refusal_is_told(services: FakeServices) -> None:
    order = await services.accept()
    commands = commands_of(services).by_name
    for unknown in ("../x", "7f" + "a" * 24, "22222-22222"):
        with pytest.raises(CommandFailed, match="no such order"):
            await commands["cancel_order"]({"order": unknown})
    with pytest.raises(CommandFailed, match="does not need attention"):
        await commands["retry_order"]({"order": order.id})
    await services.processor().process(order.id)
    with pytest.raises(CommandFailed, match="the order is completed"):
        await commands["cancel_order"]({"order": order.id})


@in_virtual_time
async def test_orders_are_listed_searched_and_refunded(services: FakeServices) -> None:
    waiting, paid = await services.accept(), await services.accept()
    await services.index.enter(paid)
    await services.processor().process(paid.id)
    commands = commands_of(services).by_name

    page = await commands["list_orders"]({"state": "completed", "limit": 5})
    assert [row["id"] for row in page["orders"]] == [paid.id]
    assert [row["id"] for row in (await commands["list_orders"]({}))["orders"]] == [waiting.id]
    assert [row["id"] for row in (await commands["orders_of_email"]({"email": paid.email}))["orders"]] == [paid.id]
    (detail,) = await commands["find_orders"]({"order": paid.id})
    assert "email" not in detail
    (detail,) = await commands["find_orders"]({"order": paid.id, "personal": True})
    assert detail["email"] == paid.email

    assert await commands["refund_order"]({"order": paid.id, "key": "k", "amount": 100}) is True
    assert await commands["refund_order"]({"order": paid.id, "key": "k", "amount": 100}) is False
    with pytest.raises(CommandFailed, match="not paid for yet"):
        await commands["refund_order"]({"order": waiting.id, "key": "k"})
    for wrong in ({"limit": 0}, {"state": "gone"}, {"cursor": "x"}):
        with pytest.raises(CommandFailed):
            await commands["list_orders"](wrong)
    with pytest.raises(CommandFailed, match="cursor"):
        await commands["orders_of_email"]({"email": paid.email, "cursor": "x"})


@in_virtual_time
async def test_dead_letters_are_listed_shown_redriven_and_dropped(services: FakeServices) -> None:
    queue = MemoryQueue()
    queue.dead += [(b"odd one", "odd"), (b"odd two", "odd")]
    desk = OrderDesk(services.orders, services.progress, message=order_accepted, dispatch=leave_to_the_sweep)
    letters = DeadLetterDesk(MemoryDeadLetters(queue))
    commands = OrderCommands(desk, search_of(services), letters).by_name

    page = await commands["list_dead_letters"]({"limit": 1})
    (letter,) = page["dead_letters"]
    assert (page["count"], letter["bytes"], page["next_cursor"]) == (2, 7, letter["id"])
    assert await commands["show_dead_letter"]({"letter": letter["id"]}) == letter
    assert await commands["show_dead_letter"]({"letter": "9-0"}) is None
    assert await commands["act_on_dead_letters"]({"act": "drop", "ids": [letter["id"]]}) == {"done": 1, "left": 1}
    assert await commands["act_on_dead_letters"]({"act": "redrive", "ids": None}) == {"done": 1, "left": 0}
    assert len(queue) == 1
    with pytest.raises(CommandFailed, match="limit"):
        await commands["list_dead_letters"]({"limit": 0})


@in_virtual_time
async def test_runs_and_orders_that_need_attention_are_metrics(services: FakeServices) -> None:
    order, aside = await services.accept(), await services.accept()
    await services.progress.set_aside(aside.id, "worker", reason="odd")
    processor, queue = services.processor(), MemoryQueue()
    queue.dead.append((b"odd", "odd"))
    watch = AttentionWatch(services.progress, queue)
    stats = OrderStats(OrderWorker(queue, processor.process), processor, watch, StepTimes())
    await processor.process(order.id)
    await watch.count()

    assert stats.snapshot() == {
        "in_progress": 0,
        "runs": {"ended": 1, "failed": 0, "deferred": 0, "set_aside": 0},
        "deliveries": {"done": 0, "failed": 0, "deferred": 0, "dead": 0},
        "dead_lettered": 0,
        "needing_attention": 1,
        "dead_letters": 1,
        "steps": {},
    }
    values = {metric.name: [sample.value for sample in metric.samples] for metric in stats.metrics()}
    assert values["peakgate_order_runs_total"] == [1, 0, 0, 0]
    assert values["peakgate_orders_needing_attention"] == [1]
    assert values["peakgate_dead_letters"] == [1]
