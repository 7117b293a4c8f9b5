"""The contract of `Progress`: leases, failures, and orders that need a person, for both adapters."""

from __future__ import annotations

import pytest

from cart.ids import new_cart_id
from cart.model import OrderId
from checkout.facts import RetryFrom
from checkout.message import order_accepted
from checkout.order import Order
from checkout.order_status import CancelReason, OrderStatus
from checkout.ports.progress import MAX_DELAY_MS, SUSPECT_DEATHS, Busy, Early, SetAside, Taken, Tally
from tests.contract.checkout.shop import LEASE_MS, Shop, a_request

ONE, TWO = "host:80:0a:1f2e", "host:80:1a:9c8d"


@pytest.fixture
async def order(shop: Shop) -> Order:
    """An accepted order."""
    cart = await shop.cart()
    return (await shop.handlers().place(a_request(cart), idempotency_key=cart.id)).order


async def taken(shop: Shop, order: Order, holder: str = ONE) -> Taken:
    reply = await shop.progress.take(order.id, holder)
    assert isinstance(reply, Taken), reply
    return reply


async def advance(shop: Shop, order: Order, to: OrderStatus) -> Order:
    now = await shop.orders.read(order.id)
    assert now is not None
    reason = CancelReason.REQUESTED if to is OrderStatus.CANCELLED else None
    return await shop.orders.transition(now, to, at=shop.now(), reason=reason)


async def complete(shop: Shop, order: Order) -> Order:
    for status in (OrderStatus.STOCK_CONFIRMED, OrderStatus.PAYMENT_AUTHORISED, OrderStatus.SHIPPING_ARRANGED):
        await advance(shop, order, status)
    return await advance(shop, order, OrderStatus.COMPLETED)


# --- leases


async def test_taking_an_order_reads_it(shop: Shop, order: Order) -> None:
    assert await taken(shop, order) == Taken(order)
    confirmed = await advance(shop, order, OrderStatus.STOCK_CONFIRMED)
    assert await taken(shop, order) == Taken(confirmed)


async def test_an_unknown_order_cannot_be_taken(shop: Shop) -> None:
    unknown = OrderId(new_cart_id())
    assert await shop.progress.take(unknown, ONE) is None
    assert await shop.progress.put_back(unknown, ONE, failed=True) is None
    assert not await shop.progress.renew(unknown, ONE)
    assert not await shop.progress.set_aside(unknown, ONE, reason="odd")
    assert await shop.progress.resume(unknown, message=b"{}") is None
    assert await shop.progress.count_needing_attention() == 0


async def test_one_holder_at_a_time_has_an_order(shop: Shop, order: Order) -> None:
    await taken(shop, order, ONE)
    busy = await shop.progress.take(order.id, TWO)
    assert isinstance(busy, Busy)
    assert LEASE_MS - 5_000 < busy.retry_after_ms <= LEASE_MS

    assert await shop.progress.put_back(order.id, ONE) == Tally(status=OrderStatus.ACCEPTED)
    assert await taken(shop, order, TWO) == Taken(order)
    assert isinstance(await shop.progress.take(order.id, ONE), Busy)


async def test_the_same_holder_takes_an_order_again_as_after_a_lost_reply(shop: Shop, order: Order) -> None:
    assert await taken(shop, order, ONE) == await taken(shop, order, ONE)
    await shop.expire_lease(order.id)
    assert await taken(shop, order, ONE) == Taken(order)


async def test_another_holder_can_neither_renew_nor_put_back_nor_set_aside(shop: Shop, order: Order) -> None:
    await taken(shop, order, ONE)
    assert not await shop.progress.renew(order.id, TWO)
    assert await shop.progress.put_back(order.id, TWO, failed=True, unanswered=True) is None
    assert not await shop.progress.set_aside(order.id, TWO, reason="odd")

    assert await shop.progress.renew(order.id, ONE)
    assert await taken(shop, order, ONE) == Taken(order)


async def test_a_lease_that_expired_can_be_renewed_until_another_has_it(shop: Shop, order: Order) -> None:
    await taken(shop, order, ONE)
    await shop.expire_lease(order.id)
    assert await shop.progress.renew(order.id, ONE)
    assert isinstance(await shop.progress.take(order.id, TWO), Busy)

    await shop.expire_lease(order.id)
    await taken(shop, order, TWO)
    assert not await shop.progress.renew(order.id, ONE)
    assert await shop.progress.put_back(order.id, ONE, failed=True) is None


async def test_a_completed_order_needs_no_lease(shop: Shop, order: Order) -> None:
    await taken(shop, order, ONE)
    completed = await complete(shop, order)
    assert await taken(shop, order, TWO) == Taken(completed)
    assert await taken(shop, order, ONE) == Taken(completed)
    assert await shop.progress.renew(order.id, ONE)
    # Its stock records may be what fails.
    assert await shop.progress.put_back(order.id, ONE, failed=True) == Tally(1, status=OrderStatus.COMPLETED)


async def test_a_cancelled_order_needs_one(shop: Shop, order: Order) -> None:
    await taken(shop, order, ONE)
    await advance(shop, order, OrderStatus.CANCELLED)
    assert isinstance(await shop.progress.take(order.id, TWO), Busy)


# --- failures


async def test_failures_are_counted_and_nothing_else_is(shop: Shop, order: Order) -> None:
    await taken(shop, order)
    assert await shop.progress.put_back(order.id, ONE) == Tally(status=OrderStatus.ACCEPTED)
    await taken(shop, order)
    assert await shop.progress.put_back(order.id, ONE, failed=True) == Tally(1, status=OrderStatus.ACCEPTED)
    await taken(shop, order, TWO)
    assert await shop.progress.put_back(order.id, TWO, failed=True) == Tally(2, status=OrderStatus.ACCEPTED)
    assert await taken(shop, order) == Taken(order, failures=2)


async def test_a_lease_that_was_not_put_back_is_a_death(shop: Shop, order: Order) -> None:
    await taken(shop, order, ONE)
    await shop.expire_lease(order.id)
    assert await taken(shop, order, TWO) == Taken(order, deaths=1)
    await shop.progress.put_back(order.id, TWO)
    assert await taken(shop, order, ONE) == Taken(order, deaths=1)


async def test_a_death_is_a_failure_of_an_order_that_ran_alone(shop: Shop, order: Order) -> None:
    await taken(shop, order, "worker:0")
    for number in range(1, SUSPECT_DEATHS + 1):
        await shop.expire_lease(order.id)
        assert await taken(shop, order, f"worker:{number}") == Taken(order, deaths=number)
    await shop.expire_lease(order.id)
    assert await taken(shop, order, "last") == Taken(order, failures=1, deaths=SUSPECT_DEATHS + 1)


async def test_runs_without_a_response_are_counted_since_the_first(shop: Shop, order: Order) -> None:
    await taken(shop, order)
    tally = await shop.progress.put_back(order.id, ONE, unanswered=True)
    assert tally is not None
    assert (tally.failures, tally.unanswered_runs) == (0, 1)
    assert tally.unanswered_ms < 5_000
    await shop.pass_time(order.id, 60_000)

    again = await taken(shop, order, TWO)
    assert again.unanswered_runs == 1
    assert 60_000 <= again.unanswered_ms < 65_000
    tally = await shop.progress.put_back(order.id, TWO, unanswered=True)
    assert tally is not None
    assert tally.unanswered_runs == 2
    assert 60_000 <= tally.unanswered_ms < 65_000
    # A run that only waits for something else shows the same.
    await taken(shop, order)
    tally = await shop.progress.put_back(order.id, ONE)
    assert tally is not None
    assert tally.unanswered_runs == 2


async def test_the_wait_for_a_response_ends_with_the_next_status(shop: Shop, order: Order) -> None:
    await taken(shop, order)
    await shop.progress.put_back(order.id, ONE, unanswered=True)
    await shop.pass_time(order.id, 60_000)
    confirmed = await advance(shop, order, OrderStatus.STOCK_CONFIRMED)

    assert await taken(shop, order) == Taken(confirmed)
    assert await shop.progress.put_back(order.id, ONE) == Tally(status=OrderStatus.STOCK_CONFIRMED)
    tally = await shop.progress.put_back(order.id, ONE, unanswered=True)
    assert tally is not None
    assert tally.unanswered_runs == 1
    assert tally.unanswered_ms < 5_000


# --- orders that need a person


async def test_an_order_that_was_set_aside_is_listed_and_taken_by_no_worker(shop: Shop, order: Order) -> None:
    await taken(shop, order)
    before = shop.now()
    for _ in range(2):  # the second time as after a lost reply
        assert await shop.progress.set_aside(order.id, ONE, reason="no response – in 900 s")

    assert await shop.progress.take(order.id, TWO) == SetAside()
    assert await shop.progress.take(order.id, ONE) == SetAside()
    (entry,) = await shop.progress.needing_attention()
    assert (entry.order_id, entry.reason) == (order.id, "no response – in 900 s")
    assert abs(entry.at - before) < 5_000
    assert await shop.progress.count_needing_attention() == 1


async def test_an_order_that_is_resumed_has_no_failures_and_a_message(shop: Shop, order: Order) -> None:
    await taken(shop, order, "dead")
    await shop.expire_lease(order.id)
    await taken(shop, order)
    await shop.progress.put_back(order.id, ONE, failed=True, unanswered=True)
    await shop.progress.set_aside(order.id, ONE, reason="odd")

    entry = await shop.progress.resume(order.id, message=order_accepted(order))

    assert entry is not None
    assert (entry.order_id, entry.message) == (order.id, order_accepted(order))
    unsent = await shop.outbox.unsent(per_partition=10)
    assert entry in unsent
    assert len({each.entry_id for each in unsent}) == 2  # with that of the checkout
    assert await taken(shop, order) == Taken(order)
    assert not await shop.progress.needing_attention()
    assert await shop.progress.resume(order.id, message=b"again") is None


async def test_an_order_that_is_cancelled_after_it_was_set_aside_is_taken_to_undo_it(shop: Shop, order: Order) -> None:
    await taken(shop, order)
    await shop.progress.put_back(order.id, ONE, failed=True)
    await shop.progress.set_aside(order.id, ONE, reason="odd")
    cancelled = await advance(shop, order, OrderStatus.CANCELLED)

    assert await taken(shop, order) == Taken(cancelled)
    assert not await shop.progress.needing_attention()


async def test_attention_is_listed_with_the_oldest_first(shop: Shop, order: Order) -> None:
    cart = await shop.cart()
    other = (await shop.handlers().place(a_request(cart), idempotency_key=cart.id)).order
    for each in (order, other):
        await shop.progress.set_aside(each.id, ONE, reason="odd")
    listed = await shop.progress.needing_attention()
    assert {entry.order_id for entry in listed} == {order.id, other.id}
    assert listed[0].at <= listed[1].at


# --- delays


async def test_an_order_that_is_delayed_is_taken_by_nobody_before_its_time(shop: Shop, order: Order) -> None:
    await taken(shop, order)
    await shop.progress.put_back(order.id, ONE, failed=True)
    await shop.progress.delay(order.id, 60_000)

    for holder in (ONE, TWO):
        early = await shop.progress.take(order.id, holder)
        assert isinstance(early, Early)
        assert 50_000 < early.retry_after_ms <= 60_000

    await shop.progress.delay(order.id, 0)
    assert isinstance(await shop.progress.take(order.id, TWO), Taken)


async def test_a_delay_is_over_once_the_order_was_taken(shop: Shop, order: Order) -> None:
    await taken(shop, order)
    await shop.progress.put_back(order.id, ONE)
    await shop.progress.delay(order.id, -1)
    await taken(shop, order)
    await shop.progress.put_back(order.id, ONE)

    assert isinstance(await shop.progress.take(order.id, TWO), Taken)


async def test_a_change_of_the_order_ends_its_delay(shop: Shop, order: Order) -> None:
    await taken(shop, order)
    await shop.progress.put_back(order.id, ONE)
    await shop.progress.delay(order.id, 60_000)
    await shop.orders.cancel(order, at=shop.now(), message=b"")

    assert isinstance(await shop.progress.take(order.id, ONE), Taken)


async def test_a_fact_ends_the_delay_of_its_order(shop: Shop, order: Order) -> None:
    await taken(shop, order)
    await shop.progress.put_back(order.id, ONE)
    await shop.progress.delay(order.id, 60_000)
    await shop.orders.append_fact(order.id, RetryFrom("retry", 1, "notify"), message=b"")

    assert isinstance(await shop.progress.take(order.id, ONE), Taken)


async def test_an_operator_ends_the_delay_of_an_order_that_was_set_aside(shop: Shop, order: Order) -> None:
    await taken(shop, order)
    await shop.progress.put_back(order.id, ONE)
    await shop.progress.delay(order.id, 60_000)
    await shop.progress.set_aside(order.id, ONE, reason="odd")
    await shop.progress.resume(order.id, message=b"")

    assert isinstance(await shop.progress.take(order.id, ONE), Taken)


async def test_no_delay_outlives_the_longest_even_if_the_clock_of_the_server_goes_back(
    shop: Shop, order: Order
) -> None:
    await taken(shop, order)
    await shop.progress.put_back(order.id, ONE)
    await shop.progress.delay(order.id, 10 * MAX_DELAY_MS)

    early = await shop.progress.take(order.id, ONE)
    assert isinstance(early, Early)
    assert early.retry_after_ms <= MAX_DELAY_MS


async def test_an_unknown_order_is_not_delayed(shop: Shop) -> None:
    unknown = OrderId(new_cart_id())
    await shop.progress.delay(unknown, 60_000)
    assert await shop.progress.take(unknown, ONE) is None
