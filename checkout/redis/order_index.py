"""The index of orders in Redis or Valkey: a sorted set for each owner and e-mail address, a set for each number."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Sequence
from typing import Any, Final

from cart.model import OrderId
from checkout.order import Order
from checkout.ports.archive import Position
from checkout.ports.order_index import OrderIdPage, Shopper, UnknownCursor
from checkout.privacy.pseudonyms import Pseudonyms
from checkout.stored import number_key, orders_of_email_key, orders_of_owner_key, unkeyed_orders_of_owner_key
from primitives.futures import ignore_exception
from store import FINISH, Script, Store, StoreUnavailable

ENTER: Final = Script.from_package("checkout.redis", "scripts/enter.lua")
PAGE: Final = Script.from_package("checkout.redis", "scripts/page_of_owner.lua")
PLACES: Final = Script.from_package("checkout.redis", "scripts/places.lua")
NO_KEY: Final = Pseudonyms(b"")


class RedisOrderIndex:
    """`OrderIndex` on a store. Only tests go without `pseudonyms` of a secret key.

    The orders that are entered in one tick of the loop share a call. Their keys are in different slots, so on a cluster, where
    `is_cluster`, each key has a call of its own.
    """

    def __init__(self, store: Store, pseudonyms: Pseudonyms = NO_KEY, *, is_cluster: bool = False) -> None:
        self._store = store
        self._pseudonyms = pseudonyms
        self._is_cluster = is_cluster
        self._gathered: list[tuple[Order, asyncio.Future[None]]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def enter(self, order: Order) -> Awaitable[object]:
        """See `OrderIndex.enter`."""
        if self._loop is None:  # to ask for it takes a system call
            self._loop = asyncio.get_running_loop()
        if not self._gathered:
            self._loop.call_soon(self._enter_gathered)
        entered: asyncio.Future[None] = self._loop.create_future()
        entered.add_done_callback(ignore_exception)
        self._gathered.append((order, entered))
        return entered

    def _enter_gathered(self) -> None:
        gathered, self._gathered = self._gathered, []
        numbers = [(number_key(order.number), order) for order, _ in gathered]
        shoppers = [(key, order) for order, _ in gathered for key in self._keys_of_shopper(order)]
        if self._is_cluster:
            calls = [self._enter([each], numbers=1) for each in numbers] + [
                self._enter([each], numbers=0) for each in shoppers
            ]
            entering = asyncio.gather(*calls)
        else:
            entering = asyncio.ensure_future(self._enter(numbers + shoppers, numbers=len(numbers)))
        entering.add_done_callback(lambda done: _resolve([entered for _, entered in gathered], done))

    def _enter(self, entries: Sequence[tuple[str, Order]], *, numbers: int) -> Awaitable[Any]:
        args: list[str | int] = [numbers]
        for _, order in entries:
            args += (order.id, order.created_at)
        return self._store.run(ENTER, [key for key, _ in entries], args)

    async def of_owner(self, owner: str, *, limit: int, after: OrderId | None = None) -> OrderIdPage:
        """See `OrderIndex.of_owner`."""
        return await self._page(await self._key_of(Shopper("owner", owner)), limit, after)

    async def of_email(self, email: str, *, limit: int, after: OrderId | None = None) -> OrderIdPage:
        """See `OrderIndex.of_email`."""
        return await self._page(await self._key_of(Shopper("email", email)), limit, after)

    async def places(self, shopper: Shopper, *, limit: int, after: Position | None = None) -> Sequence[Position]:
        """See `OrderIndex.places`."""
        place = ("", "") if after is None else (after.created_at, after.order_id)
        found = await self._store.run(PLACES, [await self._key_of(shopper)], [limit, *place])
        return [Position(int(at), OrderId(each.decode())) for each, at in zip(found[::2], found[1::2], strict=True)]

    async def place(self, shopper: Shopper, order_id: OrderId) -> Position | None:
        """See `OrderIndex.place`."""
        score = await self._store.execute("ZSCORE", await self._key_of(shopper), order_id)
        return None if score is None else Position(int(score), order_id)

    async def _key_of(self, shopper: Shopper) -> str:
        if shopper.by == "email":
            return orders_of_email_key(self._pseudonyms.of_email(shopper.name))
        key = self._owner_key(shopper.name)
        await self._adopt(unkeyed_orders_of_owner_key(shopper.name), key)
        return key

    async def by_number(self, number: str) -> Sequence[OrderId]:
        """See `OrderIndex.by_number`."""
        return sorted(OrderId(each.decode()) for each in await self._store.execute("SMEMBERS", number_key(number)))

    async def forget(self, order: Order) -> None:
        """See `OrderIndex.forget`."""
        keys = self._keys_of_shopper(order)
        if order.owner is not None:
            keys.append(unkeyed_orders_of_owner_key(order.owner))
        await asyncio.gather(*(self._store.run(FINISH, [key], ["ZREM", order.id]) for key in keys))

    async def leave(self, order: Order) -> None:
        """See `OrderIndex.leave`."""
        removing = self._store.run(FINISH, [number_key(order.number)], ["SREM", order.id])
        await asyncio.gather(removing, self.forget(order))

    def _keys_of_shopper(self, order: Order) -> list[str]:
        keys = [orders_of_email_key(self._pseudonyms.of_email(order.email))] if order.email else []
        return keys if order.owner is None else [*keys, self._owner_key(order.owner)]

    def _owner_key(self, owner: str) -> str:
        return orders_of_owner_key(self._pseudonyms.of_owner(owner))

    async def _adopt(self, unkeyed: str, key: str) -> None:
        """Move the entries of earlier versions, under a hash without a key; may be repeated."""
        found = await self._store.execute("ZRANGE", unkeyed, 0, -1, "WITHSCORES")
        if not found:
            return
        entries = [(round(score), order_id) for order_id, score in found]
        await self._store.run(FINISH, [key], ["ZADD", *itertools.chain.from_iterable(entries)])
        await self._store.run(FINISH, [unkeyed], ["ZREM", *(order_id for _, order_id in entries)])

    async def _page(self, key: str, limit: int, after: OrderId | None) -> OrderIdPage:
        found = await self._store.run(PAGE, [key], [after or "", limit])
        if found is None:
            raise UnknownCursor
        ids = [OrderId(each.decode()) for each in found]
        return OrderIdPage(ids[:limit], ids[limit - 1] if len(ids) > limit else None)


def _resolve(entered: Sequence[asyncio.Future[None]], done: asyncio.Future[Any]) -> None:
    """Tell those who wait for an entry of a call that has ended."""
    error = StoreUnavailable("the call was cancelled") if done.cancelled() else done.exception()
    for each in entered:
        if each.done():
            continue
        if error is None:
            each.set_result(None)
        else:
            each.set_exception(error)
