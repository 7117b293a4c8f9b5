"""One process at a time sweeps the outbox and abandoned claims."""

from __future__ import annotations

from checkout.outbox import OutboxDispatcher
from checkout.ports.orders import Claim
from checkout.ports.queue import Outgoing
from checkout.redis.orders import LEASE_KEY as CLAIMS_LEASE_KEY
from checkout.redis.orders import RedisOrders
from checkout.redis.outbox import LEASE_KEY, RedisOutbox
from store import Client
from tests.contract.checkout.shop import MUG, RedisShop, a_request


async def test_only_the_holder_of_the_lease_finds_unsent_entries(store: Client) -> None:
    shop = RedisShop(store)
    await shop.set_stock(MUG, 10)
    await shop.handlers().place(a_request(await shop.cart()), idempotency_key="key")
    one, other = RedisOutbox(store), RedisOutbox(store)
    for _ in range(2):
        assert await one.unsent(per_partition=10) == shop.dispatched
        assert await other.unsent(per_partition=10) == []
    assert 0 < await store.execute("PTTL", LEASE_KEY) <= 15_000
    # The holder is gone, and its lease has expired.
    await store.execute("DEL", LEASE_KEY)
    assert await other.unsent(per_partition=10) == shop.dispatched
    assert await one.unsent(per_partition=10) == []


async def test_an_accepted_order_whose_process_died_is_sent_by_the_sweep(store: Client) -> None:
    shop = RedisShop(store)
    await shop.set_stock(MUG, 10)
    placed = await shop.handlers(message=lambda order: order.id.encode()).place(
        a_request(await shop.cart()), idempotency_key="key"
    )
    sent: list[Outgoing] = []

    class Queue:
        async def send(self, messages: list[Outgoing]) -> list[bool]:
            sent.extend(messages)
            return [True] * len(messages)

    dispatcher = OutboxDispatcher(RedisOutbox(store), Queue(), min_age_s=0)  # type: ignore[arg-type]
    assert await dispatcher.sweep() == 1
    await dispatcher._send(await dispatcher._next_batch())
    assert [(message.order_id, message.body) for message in sent] == [(placed.order.id, placed.order.id.encode())]
    assert sent[0].message_id.startswith(f"{placed.order.id}:")
    assert await dispatcher.sweep() == 0
    assert await dispatcher.drain(0.1)


async def test_only_the_holder_of_the_lease_finds_abandoned_claims(store: Client) -> None:
    shop = RedisShop(store)
    await shop.set_stock(MUG, 10)
    cart = await shop.cart()
    await shop.orders.begin(Claim(cart_id=cart.id, key_hash="k", fingerprint="f", token="t"))
    one, other = RedisOrders(store), RedisOrders(store)
    for _ in range(2):
        assert len(await one.open_claims()) == 1
        assert await other.open_claims() == []
    # The holder is gone, and its lease has expired.
    await store.execute("DEL", CLAIMS_LEASE_KEY)
    assert len(await other.open_claims()) == 1
