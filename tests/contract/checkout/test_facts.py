"""The contract of facts and revisions of orders, for both adapters: told once, applied once, never lost."""

from __future__ import annotations

import asyncio

import pytest

from cart.ids import new_cart_id
from cart.model import OrderId
from checkout.errors import OrderNotFound, StatusConflict, TooManyFacts
from checkout.facts import MAX_FACTS, Fact, PaymentFact, RefundRequest, RetryFrom, ShipmentFact
from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.ports.progress import Busy, SetAside, Taken
from tests.contract.checkout.shop import Shop, a_request

ONE, TWO = "host:80:0a:1f2e", "host:80:1a:9c8d"
SHIPPED = ShipmentFact("evt_shipped", 7, "shipped", carrier="Royal Mail \u2013 \u2615", tracking="RM 1\n2")
REFUND = RefundRequest("evt_2", 9, amount=100)


@pytest.fixture
async def order(shop: Shop) -> Order:
    """An accepted order."""
    cart = await shop.cart()
    return (await shop.handlers().place(a_request(cart), idempotency_key=cart.id)).order


async def now(shop: Shop, order: Order) -> Order:
    stored = await shop.orders.read(order.id)
    assert stored is not None
    return stored


async def complete(shop: Shop, order: Order) -> Order:
    for status in (
        OrderStatus.STOCK_CONFIRMED,
        OrderStatus.PAYMENT_AUTHORISED,
        OrderStatus.SHIPPING_ARRANGED,
        OrderStatus.COMPLETED,
    ):
        order = await shop.orders.transition(await now(shop, order), status, at=shop.now())
    return order


async def is_in_flight(shop: Shop, order: Order) -> bool:
    return order.id in await shop.in_flight.stalled(idle_s=0, limit=10)


# --- revisions


async def test_an_update_is_the_next_revision_and_is_refused_to_one_who_has_an_older(shop: Shop, order: Order) -> None:
    noted = order.noted(at=shop.now(), refunded=5)
    assert await shop.orders.update(order, noted) == noted
    assert await now(shop, order) == noted
    assert noted.revision == 2
    with pytest.raises(StatusConflict):
        await shop.orders.update(order, order.noted(at=shop.now(), refunded=7))
    with pytest.raises(StatusConflict):
        await shop.orders.transition(order, OrderStatus.STOCK_CONFIRMED, at=shop.now())
    assert await now(shop, order) == noted


async def test_of_many_updates_at_once_one_is_stored(shop: Shop, order: Order) -> None:
    updates = [shop.orders.update(order, order.noted(at=shop.now(), refunded=amount)) for amount in range(1, 9)]
    outcomes = await asyncio.gather(*updates, return_exceptions=True)
    stored = [outcome for outcome in outcomes if isinstance(outcome, Order)]
    assert len(stored) == 1
    assert await now(shop, order) == stored[0]


# --- facts


@pytest.mark.parametrize(
    "fact",
    [
        PaymentFact("evt_1", 1, "captured", amount=255, reference="pi_1"),
        SHIPPED,
        REFUND,
        RefundRequest("evt_3", 1),
        RetryFrom("evt_4", 1, "capture_payment"),
    ],
    ids=lambda fact: type(fact).__name__,
)
async def test_a_fact_is_read_with_its_order_until_it_is_applied(shop: Shop, order: Order, fact: Fact) -> None:
    entry = await shop.orders.append_fact(order.id, fact, message=b"{}")
    assert entry is not None
    assert entry in await shop.outbox.unsent(per_partition=10)
    assert (await now(shop, order)).facts == (fact,)

    told = await now(shop, order)
    applied = await shop.orders.update(told, told.noted(at=shop.now(), detail="told"), applied=fact)
    assert applied.facts == ()
    assert await now(shop, order) == applied


async def test_a_fact_that_is_told_five_times_is_one(shop: Shop, order: Order) -> None:
    replies = [await shop.orders.append_fact(order.id, SHIPPED, message=b"{}") for _ in range(5)]
    assert [reply is None for reply in replies] == [False, True, True, True, True]
    told = await now(shop, order)
    await shop.orders.update(told, told.revised(), applied=SHIPPED)
    assert await shop.orders.append_fact(order.id, SHIPPED, message=b"{}") is None
    assert (await now(shop, order)).facts == ()


async def test_a_part_of_an_id_is_another_id(shop: Shop, order: Order) -> None:
    for fact_id in ("evt_11", "evt_1", "vt_1", "evt"):
        assert await shop.orders.append_fact(order.id, RefundRequest(fact_id, 1), message=b"{}") is not None
    told = await now(shop, order)
    assert [fact.id for fact in told.facts] == ["evt_11", "evt_1", "vt_1", "evt"]
    left = await shop.orders.update(told, told.revised(), applied=told.facts[1])
    assert [fact.id for fact in left.facts] == ["evt_11", "vt_1", "evt"]
    assert await now(shop, order) == left


async def test_a_fact_that_comes_while_another_is_applied_stays(shop: Shop, order: Order) -> None:
    await shop.orders.append_fact(order.id, SHIPPED, message=b"{}")
    told = await now(shop, order)
    await shop.orders.append_fact(order.id, REFUND, message=b"{}")
    await shop.orders.update(told, told.revised(), applied=SHIPPED)
    assert (await now(shop, order)).facts == (REFUND,)


async def test_an_order_takes_a_bounded_number_of_facts(shop: Shop, order: Order) -> None:
    for number in range(MAX_FACTS):
        await shop.orders.append_fact(order.id, RefundRequest(f"evt_{number}", 1, amount=1), message=b"{}")
    with pytest.raises(TooManyFacts):
        await shop.orders.append_fact(order.id, SHIPPED, message=b"{}")
    assert len((await now(shop, order)).facts) == MAX_FACTS


async def test_a_fact_of_an_unknown_order_is_refused(shop: Shop) -> None:
    with pytest.raises(OrderNotFound):
        await shop.orders.append_fact(OrderId(new_cart_id()), SHIPPED, message=b"{}")


# --- facts and workers


async def test_a_completed_order_needs_a_lease_while_it_has_facts(shop: Shop, order: Order) -> None:
    await complete(shop, order)
    await shop.orders.append_fact(order.id, REFUND, message=b"{}")
    assert isinstance(await shop.progress.take(order.id, ONE), Taken)
    assert isinstance(await shop.progress.take(order.id, TWO), Busy)
    assert not await shop.progress.renew(order.id, TWO)
    assert await shop.progress.renew(order.id, ONE)

    told = await now(shop, order)
    await shop.orders.update(told, told.noted(at=shop.now(), refunded=100), applied=REFUND)
    await shop.progress.put_back(order.id, ONE)
    assert isinstance(await shop.progress.take(order.id, TWO), Taken)


async def test_the_lease_outlives_the_completion_of_an_order_with_facts(shop: Shop, order: Order) -> None:
    await shop.orders.append_fact(order.id, SHIPPED, message=b"{}")
    assert isinstance(await shop.progress.take(order.id, ONE), Taken)
    await complete(shop, order)
    assert isinstance(await shop.progress.take(order.id, TWO), Busy)


async def test_an_order_with_facts_stays_in_flight(shop: Shop, order: Order) -> None:
    completed = await complete(shop, order)
    await shop.orders.append_fact(order.id, SHIPPED, message=b"{}")
    assert not await shop.orders.settle(completed)
    assert await is_in_flight(shop, order)

    told = await now(shop, order)
    shipped = told.moved(OrderStatus.SHIPPED, at=shop.now())
    shipped = await shop.orders.update(told, shipped, applied=SHIPPED)
    assert not await shop.orders.settle(completed)  # the worker that completed it, late
    assert await is_in_flight(shop, order)
    assert await shop.orders.settle(shipped)
    assert not await is_in_flight(shop, order)


async def test_a_fact_returns_an_order_to_flight(shop: Shop, order: Order) -> None:
    completed = await complete(shop, order)
    await shop.orders.settle(completed)
    assert not await is_in_flight(shop, order)
    await shop.orders.append_fact(order.id, SHIPPED, message=b"{}")
    assert await is_in_flight(shop, order)


async def test_a_fact_returns_an_order_that_was_set_aside_to_the_workers(shop: Shop, order: Order) -> None:
    assert isinstance(await shop.progress.take(order.id, ONE), Taken)
    assert await shop.progress.set_aside(order.id, ONE, reason="no response")
    assert isinstance(await shop.progress.take(order.id, ONE), SetAside)
    await shop.orders.append_fact(order.id, PaymentFact("evt_1", 1, "authorised"), message=b"{}")
    assert isinstance(await shop.progress.take(order.id, ONE), Taken)
    assert await shop.progress.count_needing_attention() == 0
