"""The contract of the gauges of outbox and claims, for both adapters."""

from __future__ import annotations

import pytest

from cart.errors import Refusal
from checkout.redis.outbox import RedisOutbox
from tests.contract.checkout.shop import BOX, RedisShop, Shop, a_request


async def test_the_outbox_tells_how_much_waits_in_it(shop: Shop) -> None:
    assert (await shop.outbox_gauge.backlog()).waiting == 0
    cart = await shop.cart()
    await shop.handlers().place(a_request(cart), idempotency_key="key")

    backlog = await shop.outbox_gauge.backlog()
    assert backlog.waiting == 1
    assert 0 <= backlog.oldest_age_s < 60

    await shop.outbox.mark_sent(await shop.outbox.unsent(per_partition=10))
    assert (await shop.outbox_gauge.backlog()).waiting == 0


@pytest.mark.parametrize("slots_per_call", [1, 3, 64])
async def test_sent_entries_leave_the_outbox_however_many_a_call_has(shop: Shop, slots_per_call: int) -> None:
    outbox = shop.outbox
    if isinstance(shop, RedisShop):
        shop.needs_calls_of(slots_per_call)
        outbox = RedisOutbox(shop.store, slots_per_call=slots_per_call)
    orders = [
        (await shop.handlers().place(a_request(await shop.cart({BOX: 1})), idempotency_key="key")).order.id
        for _ in range(5)
    ]
    unsent = await outbox.unsent(per_partition=10)
    assert {entry.order_id for entry in unsent} == set(orders)
    await outbox.mark_sent(unsent[:4])
    assert await outbox.unsent(per_partition=10) == unsent[4:]


async def test_checkouts_are_counted_by_their_result(shop: Shop) -> None:
    handlers = shop.handlers()
    cart = await shop.cart()
    for _ in range(2):
        await handlers.place(a_request(cart), idempotency_key="key")
    with pytest.raises(Refusal):
        await handlers.place(a_request(await shop.cart({BOX: 11})), idempotency_key="other")
    with pytest.raises(Refusal):
        await handlers.place(a_request(cart), idempotency_key=None)

    assert handlers.placed == {"accepted": 1, "replayed": 1, "OutOfStock": 1, "IdempotencyKeyMissing": 1}
    assert await shop.claim_gauge.count_claims() == 0
