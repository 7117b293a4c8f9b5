"""The adapters of the cart port, each with a way to close a cart as checkout does."""

from __future__ import annotations

from typing import Any, Protocol, cast

import msgspec
import pytest

from cart.memory import MemoryCarts
from cart.model import Cart, OrderId
from cart.ports import Carts
from cart.redis_carts import RedisCarts
from cart.stored import cart_key
from store import Store, StoreUnavailable
from tests.contract.cart.stores import KilledStore


class Adapter(Protocol):
    """An adapter under test."""

    carts: Carts

    async def order(self, cart: Cart, order_id: OrderId) -> None: ...

    async def expire(self, cart: Cart) -> None:
        """Let the cart expire now."""

    def losing(self, call: int, *, after_running: bool) -> Carts:
        """The same carts, by a process whose connection is lost at a store call: before the call reaches the store, or after."""
        ...


class InMemory:
    def __init__(self) -> None:
        self._memory = MemoryCarts(clock_ms=lambda: 0)
        self.carts: Carts = self._memory

    async def order(self, cart: Cart, order_id: OrderId) -> None:
        self._memory.by_id[cart.id] = msgspec.structs.replace(cart, status="ordered", order_id=order_id)

    async def expire(self, cart: Cart) -> None:
        self._memory._expires_at[cart.id] = 0

    def losing(self, call: int, *, after_running: bool) -> Carts:
        # Every operation is one call here, whichever is lost of the other adapter.
        lost: Any = LosingCarts(self._memory, after_running=after_running)
        return cast("Carts", lost)


class LosingCarts:
    """Carts whose operations all fail, before or after they ran."""

    def __init__(self, carts: Carts, *, after_running: bool) -> None:
        self._carts = carts
        self._after_running = after_running

    def __getattr__(self, name: str) -> Any:
        async def lost(*arguments: Any, **more: Any) -> None:
            if self._after_running:
                await getattr(self._carts, name)(*arguments, **more)
            raise StoreUnavailable("lost", may_have_run=self._after_running)

        return lost


class InRedis:
    def __init__(self, store: Store) -> None:
        self._store = store
        self.carts: Carts = RedisCarts(store)

    async def order(self, cart: Cart, order_id: OrderId) -> None:
        await self._store.execute("HSET", cart_key(cart.id), "\1s", "ordered", "\1o", order_id)

    async def expire(self, cart: Cart) -> None:
        await self._store.execute("PEXPIREAT", cart_key(cart.id), 1)

    def losing(self, call: int, *, after_running: bool) -> Carts:
        return RedisCarts(KilledStore(self._store, at=call, after_running=after_running))


@pytest.fixture(params=["memory", "redis", "cluster"])
def adapter(request: pytest.FixtureRequest) -> Adapter:
    if request.param == "memory":
        return InMemory()
    return InRedis(request.getfixturevalue("cluster_store" if request.param == "cluster" else "store"))


@pytest.fixture
def carts(adapter: Adapter) -> Carts:
    return adapter.carts
