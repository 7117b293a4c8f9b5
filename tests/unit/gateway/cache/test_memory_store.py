"""The bounded memory cache: aiocache's calls and ours on the same entries."""

from __future__ import annotations

import asyncio

import pytest

from gateway.cache.memory_store import BoundedMemoryCache
from tests.virtual_time import in_virtual_time


class Thing:
    def __init__(self, size: int) -> None:
        self.size = size
        self.was_used = False


class Dropped:
    def __init__(self) -> None:
        self.keys: list[str] = []

    def __call__(self, key: str, _value: Thing) -> None:
        self.keys.append(key)


@pytest.fixture
def dropped() -> Dropped:
    return Dropped()


@pytest.fixture
def cache(dropped: Dropped) -> BoundedMemoryCache[Thing]:
    return BoundedMemoryCache(100, dropped)


async def test_what_aiocache_sets_is_peeked_at_and_the_other_way_round(cache: BoundedMemoryCache[Thing]) -> None:
    one, two = Thing(10), Thing(10)
    await cache.set("a", one)
    cache.place("b", two)
    assert cache.peek("a") is one
    assert await cache.get("b") is two
    assert await cache.multi_get(["a", "b", "c"]) == [one, two, None]
    assert await cache.delete("a") == 1
    assert cache.peek("a") is None
    assert cache.drop("b") is two
    assert not await cache.exists("b")
    assert cache.entries.bytes == 0


async def test_the_oldest_unused_goes_first(cache: BoundedMemoryCache[Thing], dropped: Dropped) -> None:
    for key in "abc":
        cache.place(key, Thing(30))
    used = cache.peek("a")
    assert used is not None
    used.was_used = True
    cache.place("d", Thing(30))
    assert dropped.keys == ["b"]
    assert not used.was_used
    cache.place("e", Thing(30))
    cache.place("f", Thing(30))
    assert dropped.keys == ["b", "c", "a"]
    assert cache.entries.evictions == 3


async def test_a_newcomer_stays_though_all_others_were_used(cache: BoundedMemoryCache[Thing]) -> None:
    for key in "abc":
        cache.place(key, Thing(30))
        cache.entries[key].was_used = True
    cache.place("d", Thing(30))
    assert cache.peek("d") is not None


async def test_what_is_larger_than_the_cache_pushes_nothing_out(
    cache: BoundedMemoryCache[Thing], dropped: Dropped
) -> None:
    cache.place("a", Thing(30))
    cache.place("b", Thing(101))
    assert [*cache.entries] == ["a"]
    cache.place("a", Thing(101))
    assert [*cache.entries] == []
    assert dropped.keys == ["a"]


async def test_what_is_placed_again_is_weighed_again(cache: BoundedMemoryCache[Thing]) -> None:
    thing = Thing(10)
    cache.place("a", thing)
    thing.size = 50
    cache.place("a", thing)
    assert cache.entries.bytes == 50 + 2


async def test_a_smaller_bound_evicts(cache: BoundedMemoryCache[Thing]) -> None:
    for key in "abc":
        cache.place(key, Thing(30))
    cache.resize(40)
    assert [*cache.entries] == ["c"]


async def test_clearing_leaves_it_bounded(cache: BoundedMemoryCache[Thing], dropped: Dropped) -> None:
    for key in ("a1", "a2", "b"):
        await cache.set(key, Thing(10))
    await cache.clear(namespace="a")
    assert [*cache.entries] == ["b"]
    await cache.clear()
    assert dropped.keys == ["a1", "a2", "b"]
    for key in "abcdef":
        await cache.set(key, Thing(30))
    assert cache.entries.bytes <= 100


@in_virtual_time
async def test_aiocaches_own_timers_are_weighed_too() -> None:
    cache: BoundedMemoryCache[Thing] = BoundedMemoryCache(100)
    await cache.set("a", Thing(30), ttl=5)
    await asyncio.sleep(6)
    assert cache.peek("a") is None
    assert cache.entries.bytes == 0
