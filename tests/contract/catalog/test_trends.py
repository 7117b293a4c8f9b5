"""The contract of `Trends`, for both adapters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

import pytest

from cart.catalog.memory import MemoryTrends
from cart.catalog.ports import Trends
from cart.catalog.redis_trends import RedisTrends
from cart.model import Sku
from store import Client

A, B, C = Sku("A"), Sku("BANK CHARGES"), Sku("café")
HALF_LIFE_S = 1e6
KEY = "{trending}:1e+06"


class Shelf(NamedTuple):
    trends: Trends
    # Lets so many half-lives pass.
    half_lives: Callable[[float], Awaitable[None]]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["memory", "redis"])
def shelf(request: pytest.FixtureRequest) -> Shelf:
    if request.param == "memory":
        clock = Clock()

        async def pass_by(count: float) -> None:
            clock.now += count * HALF_LIFE_S

        return Shelf(MemoryTrends(half_life_s=HALF_LIFE_S, max_products=3, clock=clock), pass_by)
    store: Client = request.getfixturevalue("store")

    async def lower(count: float) -> None:
        # What is left of a score when it is compared with those of a later time.
        scores = await store.execute("ZRANGE", KEY, 0, -1, "WITHSCORES")
        for sku, score in (
            scores if scores and isinstance(scores[0], list) else zip(scores[::2], scores[1::2], strict=True)
        ):
            await store.execute("ZADD", KEY, repr(float(score) - count), sku)

    return Shelf(RedisTrends(store, half_life_s=HALF_LIFE_S, max_products=3), lower)


async def test_nothing_is_trending_before_the_first_order(shelf: Shelf) -> None:
    assert await shelf.trends.top(10) == []


async def test_the_product_of_the_most_orders_is_the_first(shelf: Shelf) -> None:
    await shelf.trends.add({A: 1, B: 3, C: 2})
    assert await shelf.trends.top(10) == [B, C, A]
    assert await shelf.trends.top(2) == [B, C]


async def test_orders_of_several_batches_add_up(shelf: Shelf) -> None:
    await shelf.trends.add({A: 5, B: 3})
    await shelf.trends.add({B: 3, C: 1})
    assert await shelf.trends.top(10) == [B, A, C]
    await shelf.trends.add({C: 5, A: 2})
    assert await shelf.trends.top(10) == [A, B, C] or await shelf.trends.top(10) == [A, C, B]


async def test_an_order_counts_half_after_a_half_life(shelf: Shelf) -> None:
    await shelf.trends.add({A: 10})
    await shelf.half_lives(1)
    await shelf.trends.add({B: 6, C: 4})
    assert await shelf.trends.top(10) == [B, A, C]
    await shelf.half_lives(2)
    await shelf.trends.add({A: 1})
    assert await shelf.trends.top(10) == [A, B, C]


async def test_a_product_that_is_not_ordered_any_more_leaves_the_list(shelf: Shelf) -> None:
    await shelf.trends.add({A: 1, B: 100})
    await shelf.half_lives(4)
    assert await shelf.trends.top(10) == [B, A]
    await shelf.half_lives(1)
    assert await shelf.trends.top(10) == [B]
    await shelf.half_lives(10)
    assert await shelf.trends.top(10) == []
    await shelf.trends.add({A: 1})
    assert await shelf.trends.top(10) == [A]


async def test_the_lightest_are_forgotten_beyond_the_number_of_products(shelf: Shelf) -> None:
    await shelf.trends.add({A: 5, B: 3, C: 4})
    await shelf.trends.add({Sku("D"): 10, Sku("E"): 1})
    assert await shelf.trends.top(10) == [Sku("D"), A, C]


async def test_counts_are_of_any_size(shelf: Shelf) -> None:
    await shelf.trends.add({A: 10**9, B: 1})
    await shelf.trends.add({A: 1, B: 10**9 + 10**4})
    assert await shelf.trends.top(10) == [B, A]
    await shelf.trends.add({})


async def test_a_batch_may_have_very_many_products(shelf: Shelf) -> None:
    await shelf.trends.add({Sku(f"S{number}"): number for number in range(1, 1001)})
    assert await shelf.trends.top(10) == [Sku("S1000"), Sku("S999"), Sku("S998")]


async def test_the_set_of_the_store_expires_and_is_bounded(store: Client) -> None:
    trends = RedisTrends(store, half_life_s=HALF_LIFE_S, max_products=3)
    await trends.add({Sku(f"S{number}"): 1 for number in range(50)})
    assert await store.execute("ZCARD", KEY) == 3
    assert 0 < await store.execute("PTTL", KEY) <= 10 * HALF_LIFE_S * 1000
