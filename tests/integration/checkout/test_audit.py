"""An audit beside live traffic: it names every fault that was planted in the store, and nothing else."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec
import pytest

from cart.ids import new_cart_id, order_id_for, partition_of
from cart.model import Sku
from cart.sku_keys import holds_key, product_key
from checkout.audit.audit import Audit, AuditReport
from checkout.audit.rules import RULES
from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.outbox import outgoing
from checkout.payments.order_payments import OrderPayments
from checkout.payments.payment import Payment
from checkout.payments.sandbox import SandboxPayments
from checkout.ports.stock import StockLine
from checkout.processor import LEASE_S, OrderProcessor
from checkout.queues.redis_queue import RedisQueue
from checkout.redis.books import RedisBooks
from checkout.redis.holds import MOST_HOLDS
from checkout.redis.order_index import RedisOrderIndex
from checkout.redis.orders import RedisOrders
from checkout.redis.progress import RedisProgress
from checkout.redis.stock import RedisStock
from checkout.request import PaymentBody
from checkout.sandbox import SandboxNotifications
from checkout.shipping.sandbox import SandboxShipping
from checkout.stored import (
    ALL_PARTITIONS,
    attention_key,
    ended_key,
    in_flight_key,
    number_key,
    open_claims_key,
    order_key,
    outbox_key,
    status_key,
)
from checkout.worker import OrderWorker
from checkout.workflow.runner import Workflow, order_steps
from store import Client, open_client
from tests.contract.checkout.shop import BOX, MUG, RedisShop, a_request
from tests.waiting import WITHIN_S, until

GOOD = 2000
SPOILT = Sku("spoilt")
# Of a drop: more orders hold it than can be added up at one moment.
DROP = Sku("drop")
Fault = tuple[str, str]


class LiveShop:
    """A shop on a store, with a worker, and shoppers who never stop."""

    def __init__(self, store: Client, blocking: Client) -> None:
        self.store = store
        self.shop = RedisShop(store)
        self.shop.index = RedisOrderIndex(store)
        for sku in (SPOILT, DROP):
            self.shop.prices.reprice(sku, 5)
        self.queue = RedisQueue(store, blocking, consumer="worker")
        self.placed = 0
        steps = order_steps(
            index=RedisOrderIndex(store),
            stock=RedisStock(store),
            payments=OrderPayments(SandboxPayments()),
            shipping=SandboxShipping(),
            notifications=SandboxNotifications(),
        )
        workflow = Workflow(RedisOrders(store), steps)
        progress = RedisProgress(store, lease_ms=round(LEASE_S * 1000))
        processor = OrderProcessor(progress, workflow, workflow, holder="worker", is_outage=lambda _error: False)
        self.worker = OrderWorker(self.queue, processor.process, wait_s=0.01)

    async def place(self, *, token: str = "tok_ok", sku: Sku = MUG, is_sent: bool = True) -> Order:
        cart = await self.shop.cart({sku: 2})
        placed = await self.shop.handlers().place(a_request(cart, payment=PaymentBody(token)), idempotency_key=cart.id)
        (entry,) = [each for each in self.shop.dispatched if each.order_id == placed.order.id]
        self.shop.dispatched.remove(entry)
        if is_sent:
            assert list(await self.queue.send([outgoing(entry)])) == [True]
            await self.shop.outbox.mark_sent([entry])
        return placed.order

    async def place_many(self, count: int, **how: Any) -> list[Order]:
        orders: list[Order] = []
        while len(orders) < count:
            orders += await asyncio.gather(*(self.place(**how) for _ in range(min(50, count - len(orders)))))
        return orders

    async def now(self, order: Order) -> Order:
        stored = await self.shop.orders.read(order.id)
        assert stored is not None
        return stored

    async def all_ended(self, orders: Sequence[Order]) -> list[Order]:
        waiting = orders
        async with asyncio.timeout(WITHIN_S):
            while waiting:
                times = await asyncio.gather(
                    *(self.raw("ZSCORE", ended_key(partition_of(each.id)), each.id) for each in waiting)
                )
                waiting = [each for each, at in zip(waiting, times, strict=True) if at is None]
        return [await self.now(each) for each in orders]

    async def report(self, order: Order, *statuses: OrderStatus) -> None:
        for status in statuses:
            order = await self.shop.orders.transition(order, status, at=order.updated_at)
        await self.shop.orders.settle(order)

    async def set_aside(self, order: Order) -> None:
        await self.shop.progress.take(order.id, "other")
        assert await self.shop.progress.set_aside(order.id, "other", reason="odd")

    async def shoppers(self) -> None:
        for number in itertools.count():
            await self.place(token="tok_declined" if number % 5 == 0 else "tok_ok", sku=(MUG, DROP)[number % 2])
            self.placed += 1

    async def audit(self) -> AuditReport:
        """Audit beside shoppers and a worker; the second look is when many more orders were placed."""

        async def sleep(seconds: float) -> None:
            if seconds < 1:
                return
            goal = self.placed + 20
            await until(lambda: self.placed >= goal)

        traffic = asyncio.ensure_future(self.shoppers())
        try:
            return await Audit(RedisBooks(self.store), rate=1e9, sleep=sleep).run()
        finally:
            traffic.cancel()
            await asyncio.gather(traffic, return_exceptions=True)

    async def hold_drop(self, count: int) -> None:
        """Have checkouts hold so many units of the drop."""
        lines = [StockLine(DROP, 1)]
        for _ in range(count):
            assert await self.shop.stock.hold(order_id_for(new_cart_id(), 1), lines, fence=1) == []

    # Faults

    async def raw(self, *words: Any) -> Any:
        return await self.store.execute(*words)

    async def change_state(self, order: Order, change: Callable[[dict[str, Any]], None]) -> None:
        state = msgspec.json.decode(await self.raw("HGET", order_key(order.id), "state"))
        change(state)
        await self.raw("HSET", order_key(order.id), "state", msgspec.json.encode(state))


@pytest.fixture
async def live(store: Client, store_url: str) -> AsyncIterator[LiveShop]:
    blocking = await open_client(store_url, deadline_s=5.0)
    live = LiveShop(store, blocking)
    for sku in (MUG, BOX, SPOILT, DROP):
        await live.shop.set_stock(sku, 1_000_000)
    running = asyncio.ensure_future(live.worker.run())
    yield live
    live.worker.stop()
    await running
    await blocking.close()


async def good_orders(live: LiveShop, count: int) -> list[Order]:
    """Orders in all states, of which the completed ones are returned."""
    placed = await live.place_many(count)
    declined = await live.place_many(count // 10, token="tok_declined")
    completed = await live.all_ended(placed)
    assert {each.status for each in completed} == {OrderStatus.COMPLETED}
    assert {each.status for each in await live.all_ended(declined)} == {OrderStatus.CANCELLED}
    shipped, delivered, returned = (completed[first::50] for first in range(3))
    for order in shipped:
        await live.report(order, OrderStatus.SHIPPED)
    for order in delivered:
        await live.report(order, OrderStatus.SHIPPED, OrderStatus.DELIVERED)
    for order in returned:
        await live.report(order, OrderStatus.RETURNED)
    for order in await live.place_many(20, is_sent=False):
        await live.set_aside(order)
    await live.place_many(20, is_sent=False)
    await live.hold_drop(MOST_HOLDS + 100)
    return [each for number, each in enumerate(completed) if number % 50 > 3]


@pytest.mark.slow
async def test_good_orders_in_all_states_are_counted_and_none_is_named(live: LiveShop) -> None:
    await good_orders(live, GOOD)

    report = await live.audit()

    assert report.findings == ()
    assert report.looked_at >= GOOD + GOOD // 10 + 40
    assert report.counts["set_aside"] == 20
    assert report.counts["in_flight"] >= 20
    assert (report.counts["shipped"], report.counts["delivered"], report.counts["returned"]) == (40, 40, 40)
    assert report.counts["completed"] >= GOOD - 120
    assert report.counts["cancelled"] >= GOOD // 10


@pytest.mark.slow
async def test_every_planted_fault_is_named_and_nothing_else(live: LiveShop) -> None:
    completed = iter(await good_orders(live, 100))
    accepted = iter(await live.place_many(10, is_sent=False))
    planted: list[Fault] = []

    def fault(rule: str, subject: str) -> None:
        planted.append((rule, subject))

    for plant in (_plant_documents, _plant_lists, _plant_histories, _plant_holds, _plant_money, _plant_waiting):
        await plant(live, completed, accepted, fault)

    report = await live.audit()

    assert sorted({(each.rule, each.subject) for each in report.findings}) == sorted(planted)
    assert len(planted) >= 20
    assert {rule for rule, _ in planted} == set(RULES)
    assert all(each.remedy for each in report.findings)


Orders = Any
Plant = Callable[[str, str], None]


async def _plant_documents(live: LiveShop, completed: Orders, _accepted: Orders, fault: Plant) -> None:
    lost, broken, copied, other = (next(completed) for _ in range(4))
    await live.raw("DEL", order_key(lost.id))
    await live.raw("HSET", order_key(broken.id), "doc", '{"id":')
    await live.raw("HSET", order_key(copied.id), "doc", await live.raw("HGET", order_key(other.id), "doc"))
    for order in (lost, broken, copied):
        fault("document", order.id)


async def _plant_lists(live: LiveShop, completed: Orders, accepted: Orders, fault: Plant) -> None:
    unlisted, twice, unended, told = (next(completed) for _ in range(4))
    lost, idle, unasked, aside = (next(accepted) for _ in range(4))
    await live.raw("ZREM", status_key(partition_of(unlisted.id), OrderStatus.COMPLETED), unlisted.id)
    fault("listing", unlisted.id)
    nowhere = next(completed)
    for key in (ended_key(partition_of(nowhere.id)), status_key(partition_of(nowhere.id), OrderStatus.COMPLETED)):
        await live.raw("ZREM", key, nowhere.id)
    fault("listing", nowhere.id)
    fault("flight", nowhere.id)
    await live.raw("ZADD", status_key(partition_of(twice.id), OrderStatus.ACCEPTED), 1, twice.id)
    fault("listing", twice.id)
    await live.raw("ZREM", ended_key(partition_of(unended.id)), unended.id)
    fault("flight", unended.id)
    fact = b'f1 {"kind":"shipment","id":"f1","at":1,"became":"shipped"}'
    await live.raw("HSET", order_key(told.id), "facts", fact)
    fault("flight", told.id)
    await live.raw("ZREM", in_flight_key(partition_of(lost.id)), lost.id)
    fault("flight", lost.id)
    await live.raw("ZADD", in_flight_key(partition_of(idle.id)), 1, idle.id)
    fault("stuck", idle.id)
    await live.raw("HSET", attention_key(partition_of(unasked.id)), unasked.id, "1 odd")
    fault("attention", unasked.id)
    await live.set_aside(aside)
    await live.raw("HDEL", attention_key(partition_of(aside.id)), aside.id)
    fault("attention", aside.id)
    numberless = next(completed)
    await live.raw("DEL", number_key(numberless.number))
    fault("number", numberless.id)


async def _plant_histories(live: LiveShop, completed: Orders, _accepted: Orders, fault: Plant) -> None:
    differs, cut, skips, back = (next(completed) for _ in range(4))
    await live.raw("HSET", order_key(differs.id), "status", "shipped")
    await live.change_state(cut, lambda state: state["history"].pop())
    await live.change_state(skips, lambda state: state["history"].pop(2))
    await live.change_state(back, lambda state: state["history"][3].update(at=1))
    for order in (differs, cut, skips, back):
        fault("history", order.id)


async def _plant_holds(live: LiveShop, completed: Orders, accepted: Orders, fault: Plant) -> None:
    unheld, less, keeps = next(accepted), next(accepted), next(completed)
    stray = order_id_for(new_cart_id(), 1)
    await live.raw("HDEL", holds_key(MUG), unheld.id)
    await live.raw("HSET", holds_key(MUG), less.id, "1 99999999999999 1")
    await live.raw("HSET", holds_key(MUG), keeps.id, "2 0 1")
    for order in (unheld, less, keeps):
        fault("holds", order.id)
    await live.raw("HSET", holds_key(MUG), stray, "3 0 1")
    fault("stray_hold", MUG)
    fault("stock_sum", MUG)
    await live.place(sku=SPOILT, is_sent=False)
    await live.raw("HSET", product_key(SPOILT), "stock", -4)
    fault("stock", SPOILT)
    await live.place(sku=DROP, is_sent=False)
    await live.raw("HINCRBY", product_key(DROP), "stock", 1)
    fault("stock_sum", DROP)


async def _plant_money(live: LiveShop, completed: Orders, _accepted: Orders, fault: Plant) -> None:
    def pay(order: Order, *, captured: int = 0, refunded: int = 0) -> Callable[[dict[str, Any]], None]:
        paid = Payment(reference="p", authorised=order.total, captured=captured, refunded=refunded)
        return lambda state: state.update(payment=msgspec.to_builtins(paid))

    unpaid, uncaptured, refunded, captured = (next(completed) for _ in range(4))
    await live.change_state(unpaid, lambda state: state.pop("payment"))
    fault("payment", unpaid.id)
    await live.change_state(uncaptured, pay(uncaptured))
    fault("payment", uncaptured.id)
    await live.change_state(refunded, pay(refunded, captured=refunded.total, refunded=refunded.total + 1))
    fault("money", refunded.id)
    await live.change_state(captured, pay(captured, captured=captured.total + 1))
    fault("money", captured.id)


async def _plant_waiting(live: LiveShop, completed: Orders, _accepted: Orders, fault: Plant) -> None:
    cart_id = new_cart_id()
    await live.raw("HSET", open_claims_key(partition_of(cart_id)), f"{cart_id} 3", f"1\n{MUG}")
    fault("claim", f"{cart_id} 3")
    lengths = [await live.raw("XLEN", outbox_key(each)) for each in ALL_PARTITIONS]
    empty = {each for each, length in zip(ALL_PARTITIONS, lengths, strict=True) if not length}
    unsent = next(each for each in completed if partition_of(each.id) in empty)
    await live.raw("DEL", outbox_key(partition_of(unsent.id)))
    await live.raw("XADD", outbox_key(partition_of(unsent.id)), "1-1", "order", unsent.id, "message", "{}")
    fault("outbox", unsent.id)
