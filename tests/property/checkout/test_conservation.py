"""Under any sequence of checkouts and crashes, no unit is sold twice and none is lost."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from cart.errors import Refusal
from cart.model import CartId, OrderId, Sku
from checkout.errors import CheckoutInterrupted
from checkout.order_status import NEXT, CancelReason, OrderStatus
from checkout.redis.orders import RedisOrders
from checkout.redis.stock import RedisStock
from store import Client, StoreUnavailable, open_client
from tests.contract.checkout.shop import BOX, MUG, FailingStore, Killed, RedisShop, a_request

STOCK = {MUG: 5, BOX: 3}
CARTS = 3


class Fault(msgspec.Struct, frozen=True):
    at: int
    ran: bool
    kills: bool

    def store(self, client: Client) -> FailingStore:
        error: BaseException = Killed() if self.kills else StoreUnavailable("lost", may_have_run=True)
        return FailingStore(client, at=self.at, ran=self.ran, error=error)


class Place(msgspec.Struct, frozen=True):
    """A cart is checked out, and the process or its connection may fail at a command of it."""

    cart: int
    key: int
    fault: Fault | None


class Add(msgspec.Struct, frozen=True):
    """The shopper adds to a cart."""

    cart: int
    sku: Sku


class TimePasses(msgspec.Struct, frozen=True):
    """All claims run out; if `sweep`, holds do as well, and the sweeper comes by."""

    sweep: bool


class End(msgspec.Struct, frozen=True):
    """A worker brings the order of a cart to its end."""

    cart: int
    completes: bool


Step = Place | Add | TimePasses | End

carts = st.integers(0, CARTS - 1)
faults = st.builds(Fault, st.integers(1, 7), st.booleans(), st.booleans())
steps = st.one_of(
    st.builds(Place, carts, st.integers(0, 1), st.none() | faults),
    st.builds(Place, carts, st.integers(0, 1), faults),
    st.builds(Add, carts, st.sampled_from([MUG, BOX])),
    st.builds(TimePasses, st.booleans()),
    st.builds(End, carts, st.booleans()),
)


class Trade:
    """A shop in which steps happen, and its books."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.shop = RedisShop(client)
        self.carts: list[CartId] = []
        self.gone = dict.fromkeys(STOCK, 0)
        self.orders: dict[CartId, OrderId] = {}

    async def open(self) -> None:
        await self.client.execute("FLUSHDB")
        for sku, quantity in STOCK.items():
            await self.shop.set_stock(sku, quantity)
        self.carts = [(await self.shop.cart({MUG: 2, BOX: 1})).id for _ in range(CARTS)]

    async def happen(self, step: Step) -> None:
        match step:
            case Place(cart, key, fault):
                await self._place(self.carts[cart], f"key {cart} {key}", fault)
            case Add(cart, sku):
                with contextlib.suppress(Refusal):
                    await self.shop.add(self.carts[cart], sku)
            case TimePasses(sweep):
                await self._expire_claims()
                if sweep:
                    await self.shop.sweep()
            case End(cart, completes):
                await self._end(self.carts[cart], completes)

    async def _place(self, cart_id: CartId, key: str, fault: Fault | None) -> None:
        store: Any = self.client if fault is None else fault.store(self.client)
        handlers = self.shop.handlers(orders=RedisOrders(store), stock=RedisStock(store))
        before = (await self.shop.carts.read(cart_id)).order_id
        try:
            placed = await handlers.place(a_request(cart_id), idempotency_key=key)
        except CheckoutInterrupted as interrupted:
            if not interrupted.may_have_run:
                assert (await self.shop.carts.read(cart_id)).order_id == before
        except (Killed, Refusal):
            pass
        else:
            # One cart, one order, for ever.
            assert self.orders.setdefault(cart_id, placed.order.id) == placed.order.id

    async def _expire_claims(self) -> None:
        for cart_id in self.carts:
            await self.shop.expire_claim(cart_id)

    async def _end(self, cart_id: CartId, completes: bool) -> None:
        order_id = (await self.shop.carts.read(cart_id)).order_id
        order = None if order_id is None else await self.shop.orders.read(order_id)
        if order is None or order.status.has_ended:
            return
        orders, stock = self.shop.orders, self.shop.stock
        # An accepted order always has its stock.
        await stock.confirm(order.id, order.skus)
        if not completes:
            await orders.transition(order, OrderStatus.CANCELLED, at=0, reason=CancelReason.PAYMENT_DECLINED)
            await stock.cancel(order.id, order.skus)
            return
        while order.status in NEXT:
            order = await orders.transition(order, NEXT[order.status], at=0)
        await stock.complete(order.id, order.skus)
        for line in order.lines:
            self.gone[line.sku] += line.quantity

    async def check(self) -> None:
        for sku, quantity in STOCK.items():
            available, taken = await self.shop.available(sku), await self.shop.taken(sku)
            assert available >= 0
            assert available + taken + self.gone[sku] == quantity

    async def close(self) -> None:
        """When all is quiet, stock is held for state orders only, and each order's message is in the outbox once."""
        await self._expire_claims()
        await self.shop.sweep()
        await self.check()
        held = dict.fromkeys(STOCK, 0)
        ordered = []
        for cart_id in self.carts:
            cart = await self.shop.carts.read(cart_id)
            if cart.order_id is None:
                assert cart_id not in self.orders
                continue
            assert self.orders.get(cart_id, cart.order_id) == cart.order_id
            order = await self.shop.orders.read(cart.order_id)
            assert order is not None
            ordered.append(order.id)
            for line in [] if order.status.has_ended else order.lines:
                held[line.sku] += line.quantity
        assert {sku: await self.shop.taken(sku) for sku in STOCK} == held
        waiting = await self.shop.outbox.unsent(per_partition=100)
        assert sorted(entry.order_id for entry in waiting) == sorted(ordered)
        assert not await self.shop.orders.open_claims()


@settings(max_examples=60, deadline=None)
@given(st.lists(steps, max_size=25))
def test_available_held_and_sold_always_add_up(store_url: str, happenings: list[Step]) -> None:
    async def trade() -> None:
        client = await open_client(store_url, deadline_s=5.0)
        books = Trade(client)
        await books.open()
        for step in happenings:
            await books.happen(step)
            await books.check()
        await books.close()
        await client.close()

    asyncio.run(trade())
