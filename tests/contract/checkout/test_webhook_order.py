"""The order of an order's webhooks, on every adapter, whichever step of the way a process dies at."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

import pytest

from cart.ids import new_cart_id, partition_of
from cart.model import OrderId
from checkout.events.relay import EventRelay
from checkout.events.webhook_desk import WebhookDesk
from checkout.events.webhooks import LEASE_S, Endpoint, Webhooks
from checkout.memory.webhooks import MemoryWebhooks
from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.ports.webhooks import Message, SendResult, WebhookStore
from checkout.redis.webhooks import RedisWebhooks
from checkout.stored import handed_over_field, order_key, webhook_due_key
from primitives.webhook_signature import WebhookSigner, new_secret
from store import Store
from tests.contract.checkout.shop import MUG, Killed, MemoryShop, RedisShop, Shop, a_request

SINK = "webhooks"
NAME = "crm"
ENDPOINT = Endpoint(name=NAME, url="https://crm.example/", signer=WebhookSigner(new_secret()))
WORKFLOW = (
    OrderStatus.STOCK_CONFIRMED,
    OrderStatus.PAYMENT_AUTHORISED,
    OrderStatus.SHIPPING_ARRANGED,
    OrderStatus.COMPLETED,
)


class Receiver:
    """Accepts all, and notes the numbers of an order's events as they come."""

    def __init__(self) -> None:
        self.numbers: dict[OrderId, list[int]] = {}

    async def send(self, _url: str, _headers: Mapping[str, str], body: bytes, *, allow_private: bool) -> SendResult:
        event = json.loads(body)
        number = event["data"].get("event_number", 1)
        self.numbers.setdefault(event["subject"], []).append(number)
        return SendResult(status=204)


class Life:
    """The life of a process, which ends at call number `ends_at` of its ports: before it runs, or with `ran` after it."""

    def __init__(self, *, ends_at: float = float("inf"), ran: bool = False) -> None:
        self.calls = 0
        self.ends_at = ends_at
        self.ran = ran

    async def call(self, call: Callable[[], Awaitable[Any]]) -> Any:
        self.calls += 1
        if self.calls < self.ends_at:
            return await call()
        if self.calls == self.ends_at and self.ran:
            await call()
        raise Killed


class Port:
    """A port as a mortal process calls it."""

    def __init__(self, port: Any, life: Life) -> None:
        self._port = port
        self._life = life

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._port, name)
        return lambda *args, **options: self._life.call(lambda: method(*args, **options))


class Process:
    """One that relays the events of orders to webhooks, and delivers these."""

    def __init__(self, shop: Shop, store: WebhookStore, receiver: Receiver, life: Life | None = None) -> None:
        life = life or Life()
        orders: Any = Port(shop.orders, life)
        self.webhooks = Webhooks(cast(Any, Port(store, life)), orders, cast(Any, Port(receiver, life)), concurrency=1)
        self.webhooks.update([ENDPOINT])
        self.relay = EventRelay(cast(Any, Port(shop.event_outbox(SINK), life)), orders, self.webhooks, name=SINK)

    async def relay_all(self) -> None:
        await self.relay.sweep()
        while self.relay._noticed:
            await self.relay.relay_once()

    async def deliver_all(self) -> None:
        await self.webhooks.sweep()
        await self.webhooks.deliver(NAME)

    async def run_once(self) -> None:
        await self.relay_all()
        await self.webhooks.deliver(NAME)


class Surroundings:
    """A shop with its webhooks, whose time a test lets pass."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.receiver = Receiver()
        if isinstance(shop, RedisShop):
            self.store: WebhookStore = RedisWebhooks(shop.store)
        else:
            self.store = MemoryWebhooks(clock_ms=shop.now)
        shop.events.enable(SINK)

    def process(self, life: Life | None = None) -> Process:
        return Process(self.shop, self.store, self.receiver, life)

    async def expire_lease(self, order: Order) -> None:
        """Let the lease of the order's webhook end, which a killed process has left."""
        if isinstance(self.shop, MemoryShop):
            self.shop.now_ms += round(LEASE_S * 1000)
            return
        assert isinstance(self.shop, RedisShop)
        key = webhook_due_key(partition_of(order.id), NAME)
        if await self.shop.store.execute("ZSCORE", key, order.id) is not None:
            await self.shop.store.execute("ZINCRBY", key, -round(LEASE_S * 1000), order.id)

    async def order(self) -> Order:
        cart = await self.shop.cart({MUG: 1})
        return (await self.shop.handlers().place(a_request(cart), idempotency_key="k")).order

    async def moved(self, order: Order, *statuses: OrderStatus) -> Order:
        for status in statuses:
            order = await self.shop.orders.transition(order, status, at=self.shop.now())
        return order


@pytest.fixture
async def here(shop: Shop) -> Surroundings:
    await shop.set_stock(MUG, 1000)
    return Surroundings(shop)


async def numbers_after_a_death(here: Surroundings, life: Life) -> list[int]:
    """Let a process die, another one deliver all that waits, then that one relay what the first has left in the outbox."""
    survivor = here.process()
    # The lease of the sweep, which the survivor of the death before has.
    await here.shop.expire_event_claims(SINK)
    order = await here.moved(await here.order(), *WORKFLOW)
    with contextlib.suppress(Killed):
        await here.process(life).run_once()
    await here.expire_lease(order)
    await survivor.deliver_all()
    order = await here.moved(order, OrderStatus.SHIPPED)
    await here.shop.expire_event_claims(SINK)
    await survivor.run_once()
    await survivor.deliver_all()
    return here.receiver.numbers[order.id]


@pytest.mark.parametrize("ran", [False, True], ids=["before the call", "after the call"])
async def test_a_death_at_any_step_repeats_no_event_behind_a_later_one_and_loses_none(
    here: Surroundings, ran: bool
) -> None:
    steps = 0
    while True:
        steps += 1
        life = Life(ends_at=steps, ran=ran)
        numbers = await numbers_after_a_death(here, life)
        assert sorted(set(numbers)) == [1, 2, 3, 4, 5, 6], f"a gap after a death at step {steps}"
        assert numbers == sorted(numbers), f"a repeat behind a later event after a death at step {steps}"
        assert len(numbers) <= 7, "the one event that was being sent may come twice"
        if life.calls < life.ends_at:
            break
    assert steps > 20, "reading, handing over, removing, and each delivery are steps"


async def test_a_relay_that_was_slow_and_not_killed_hands_over_nothing_behind_a_later_event(here: Surroundings) -> None:
    is_called, may_go_on = asyncio.Event(), asyncio.Event()

    class SlowStore:
        def __getattr__(self, name: str) -> Any:
            return getattr(here.store, name)

        async def hand_over(self, messages: Any) -> None:
            is_called.set()
            await may_go_on.wait()
            await here.store.hand_over(messages)

    slow, other = Process(here.shop, cast(Any, SlowStore()), here.receiver), here.process()
    order = await here.moved(await here.order(), OrderStatus.STOCK_CONFIRMED)
    handing_over = asyncio.create_task(slow.run_once())
    await is_called.wait()
    await here.shop.expire_event_claims(SINK)
    order = await here.moved(order, OrderStatus.PAYMENT_AUTHORISED)
    await other.run_once()
    may_go_on.set()
    await handing_over
    await other.run_once()
    assert here.receiver.numbers[order.id] == [1, 2, 3]


async def test_an_operator_delivers_again_what_was_handed_over_and_later_events_follow(here: Surroundings) -> None:
    process = here.process()
    order = await here.moved(await here.order(), *WORKFLOW)
    await process.run_once()
    await WebhookDesk(here.store).redeliver(NAME, f"{order.id}-2")
    await process.deliver_all()
    await here.moved(order, OrderStatus.SHIPPED)
    await process.run_once()
    assert here.receiver.numbers[order.id] == [1, 2, 3, 4, 5, 2, 6]


async def test_each_endpoint_and_each_order_has_a_number_of_its_own(here: Surroundings) -> None:
    process = here.process()
    first = await here.order()
    await process.run_once()
    second = await here.moved(await here.order(), OrderStatus.STOCK_CONFIRMED)
    # An endpoint that is added later takes what comes from then on.
    process.webhooks.update([ENDPOINT, Endpoint(name="erp", url="https://erp.example/", signer=ENDPOINT.signer)])
    await here.moved(first, OrderStatus.STOCK_CONFIRMED)
    await process.relay_all()
    for name in (NAME, "erp"):
        await process.webhooks.deliver(name)
    assert here.receiver.numbers == {first.id: [1, 2, 2], second.id: [1, 2, 1, 2]}


async def test_a_hand_over_makes_no_record_of_an_order_that_is_not_there(here: Surroundings) -> None:
    order_id = OrderId(new_cart_id())
    await here.store.hand_over([Message(NAME, order_id, 1)])
    assert await here.store.due(NAME, partition_of(order_id), lease_s=LEASE_S) is not None
    assert await here.shop.orders.receipt(order_id) is None
    if isinstance(here.shop, RedisShop):
        assert not await here.shop.store.execute("EXISTS", order_key(order_id))


async def test_the_numbers_go_with_the_record_of_the_order(store: Store) -> None:
    here = Surroundings(RedisShop(store))
    await here.shop.set_stock(MUG, 1)
    order = await here.order()
    await here.process().run_once()
    assert await store.execute("HGET", order_key(order.id), handed_over_field(NAME)) == b"1"
    await store.execute("DEL", order_key(order.id))
    assert await store.execute("KEYS", f"*{order.id}*") == []
    assert await store.execute("KEYS", f"*webhooks*:{NAME}") == []
