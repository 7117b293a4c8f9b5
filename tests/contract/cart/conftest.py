"""The adapters of the cart port, each with a way to close a cart as checkout does."""

from __future__ import annotations

from typing import Protocol

import msgspec
import pytest

from cart.memory import MemoryCarts
from cart.model import Cart, OrderId
from cart.ports import Carts
from cart.redis_carts import RedisCarts
from cart.stored import cart_key
from store import Store


class Adapter(Protocol):
    """An adapter under test."""

    carts: Carts

    async def order(self, cart: Cart, order_id: OrderId) -> None: ...


class InMemory:
    def __init__(self) -> None:
        self._memory = MemoryCarts(clock_ms=lambda: 0)
        self.carts: Carts = self._memory

    async def order(self, cart: Cart, order_id: OrderId) -> None:
        self._memory.by_id[cart.id] = msgspec.structs.replace(cart, status="ordered", order_id=order_id)


class InRedis:
    def __init__(self, store: Store) -> None:
        self._store = store
        self.carts: Carts = RedisCarts(store)

    async def order(self, cart: Cart, order_id: OrderId) -> None:
        await self._store.execute("HSET", cart_key(cart.id), "\1s", "ordered", "\1o", order_id)


@pytest.fixture(params=["memory", "redis"])
def adapter(request: pytest.FixtureRequest) -> Adapter:
    if request.param == "memory":
        return InMemory()
    return InRedis(request.getfixturevalue("store"))


@pytest.fixture
def carts(adapter: Adapter) -> Carts:
    return adapter.carts
