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


async def test_aiocache_and_the_mapping_see_the_same_entries(cache: BoundedMemoryCache[Thing]) -> None:
    one, two = Thing(10), Thing(10)
    await cache.set("a", one)
    cache.entries["b"] = two
    assert cache.entries.get("a") is one
    assert await cache.get("b") is two
    assert await cache.multi_get(["a", "b", "c"]) == [one, two, None]
    assert await cache.delete("a") == 1
    assert cache.entries.get("a") is None
    assert cache.entries.pop("b") is two
    assert not await cache.exists("b")
    assert cache.entries.bytes == 0


async def test_the_oldest_unused_entry_is_evicted_first(cache: BoundedMemoryCache[Thing], dropped: Dropped) -> None:
    for key in "abc":
        cache.entries[key] = Thing(30)
    used = cache.entries.get("a")
    assert used is not None
    used.was_used = True
    cache.entries["d"] = Thing(30)
    assert dropped.keys == ["b"]
    assert not used.was_used
    cache.entries["e"] = Thing(30)
    cache.entries["f"] = Thing(30)
    assert dropped.keys == ["b", "c", "a"]
    assert cache.entries.evictions == 3


async def test_a_new_entry_stays_though_all_others_were_used(cache: BoundedMemoryCache[Thing]) -> None:
    for key in "abc":
        cache.entries[key] = Thing(30)
        cache.entries[key].was_used = True
    cache.entries["d"] = Thing(30)
    assert cache.entries.get("d") is not None


async def test_an_entry_larger_than_the_cache_evicts_nothing(
    cache: BoundedMemoryCache[Thing], dropped: Dropped
) -> None:
    cache.entries["a"] = Thing(30)
    cache.entries["b"] = Thing(101)
    assert [*cache.entries] == ["a"]
    cache.entries["a"] = Thing(101)
    assert [*cache.entries] == []
    assert dropped.keys == ["a"]


async def test_an_entry_that_is_stored_again_is_weighed_again(cache: BoundedMemoryCache[Thing]) -> None:
    thing = Thing(10)
    cache.entries["a"] = thing
    thing.size = 50
    cache.entries["a"] = thing
    assert cache.entries.bytes == 50 + 2


async def test_a_smaller_bound_evicts(cache: BoundedMemoryCache[Thing]) -> None:
    for key in "abc":
        cache.entries[key] = Thing(30)
    cache.entries.resize(40)
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
async def test_an_entry_that_aiocache_expires_is_uncounted() -> None:
    cache: BoundedMemoryCache[Thing] = BoundedMemoryCache(100)
    await cache.set("a", Thing(30), ttl=5)
    await asyncio.sleep(6)
    assert cache.entries.get("a") is None
    assert cache.entries.bytes == 0
