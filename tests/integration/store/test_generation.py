"""The mark of a store's data: kept by a failover, changed by an emptied store, and counts that go back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks.harness.store_pair import store_pair
from store import Client, ClusterClient, open_client
from store.generation import COUNT_TTL_S, MARK_KEY, RANGES, TAGS, Generation, Generations, Loss
from store.slots import SLOTS, slot_of


async def test_the_first_start_finds_no_loss_and_all_processes_have_one_mark(store: Client) -> None:
    first, second = Generation(store), Generation(store)
    for _ in range(3):
        assert await first.advance() is None
        assert await second.advance() is None
    assert first.mark == second.mark
    later = Generation(store, known=first.mark)
    assert await later.advance() is None


async def test_an_emptied_store_is_noticed_once_by_each_process_that_knew_it(store: Client) -> None:
    first, second = Generation(store), Generation(store)
    await first.advance()
    await second.advance()
    known = first.mark
    await store.execute("FLUSHDB")
    assert [await first.advance(), await second.advance()] == [Loss.EMPTIED, Loss.EMPTIED]
    assert [await first.advance(), await second.advance()] == [None, None]
    assert await Generation(store, known=known).advance() is Loss.EMPTIED
    assert await Generation(store).advance() is None


async def test_a_store_that_lost_its_last_writes_is_noticed(store: Client) -> None:
    generation = Generation(store)
    for _ in range(3):
        await generation.advance()
    (count_key,) = [key for key in await store.execute("KEYS", "*") if key.startswith(MARK_KEY.encode() + b":")]
    await store.execute("SET", count_key, 1)
    assert await generation.advance() is Loss.WENT_BACK
    assert await generation.advance() is None


async def test_a_count_that_expired_while_the_store_was_away_is_no_loss(store: Client) -> None:
    now = 0.0
    generation = Generation(store, clock=lambda: now)
    await generation.advance()
    await generation.advance()
    now = COUNT_TTL_S
    for key in await store.execute("KEYS", f"{MARK_KEY}:*"):
        await store.execute("DEL", key)
    assert await generation.advance() is None


async def test_the_count_of_a_process_that_ended_expires(store: Client) -> None:
    await Generation(store).advance()
    (count_key,) = [key for key in await store.execute("KEYS", "*") if key.startswith(MARK_KEY.encode() + b":")]
    assert 0 < await store.execute("TTL", count_key) <= COUNT_TTL_S
    assert await store.execute("TTL", MARK_KEY) == -1


@pytest.mark.parametrize("loses_writes", [False, True])
async def test_a_failover_is_a_loss_only_if_the_replica_had_not_all_writes(tmp_path: Path, loses_writes: bool) -> None:
    with store_pair(tmp_path) as (first, second):
        before = await open_client(first.url)
        generation = Generation(before)
        await generation.advance()
        first.command("WAIT", 1, 0)
        if loses_writes:
            await asyncio.to_thread(second.promote)
        for _ in range(3):
            await generation.advance()
        if not loses_writes:
            first.command("WAIT", 1, 0)
            await asyncio.to_thread(second.promote)
        await before.close()
        after = await open_client(second.url)
        generation._store = after
        assert await generation.advance() is (Loss.WENT_BACK if loses_writes else None)
        await after.close()


def test_the_tags_of_marks_are_in_all_parts_of_the_slots() -> None:
    assert sorted(slot_of(tag) * RANGES // SLOTS for tag in TAGS) == list(range(RANGES))


async def test_every_primary_has_a_mark_and_an_emptied_one_is_noticed(cluster_store: ClusterClient) -> None:
    first, second = Generations(cluster_store, known={}), Generations(cluster_store, known={})
    for _ in range(3):
        assert await first.advance() is None
        assert await second.advance() is None
    assert len(first.marks) == len(cluster_store.nodes)
    assert first.marks == second.marks
    later = Generations(cluster_store, known=first.marks)
    assert await later.advance() is None
    for node in cluster_store.nodes:
        await node.execute("FLUSHDB")
        assert [await first.advance(), await second.advance()] == [Loss.PARTLY_EMPTIED] * 2
        assert [await first.advance(), await second.advance()] == [None, None]
    await cluster_store.execute("FLUSHDB")
    assert await first.advance() is Loss.EMPTIED


async def test_one_primary_that_lost_its_last_writes_is_noticed(cluster_store: ClusterClient) -> None:
    generations = Generations(cluster_store, known={})
    for _ in range(3):
        await generations.advance()
    for node in cluster_store.nodes:
        (count_key,) = [key for key in await node.execute("KEYS", "*") if b":generation:" in key]
        await node.execute("SET", count_key, 1)
        assert await generations.advance() is Loss.WENT_BACK
        assert await generations.advance() is None


async def test_a_primary_that_is_away_hides_no_loss_of_another(cluster_store: ClusterClient) -> None:
    generations = Generations(cluster_store, known={})
    await generations.advance()
    away, emptied, _ = cluster_store.nodes
    away.admit_only(lambda: False)
    await emptied.execute("FLUSHDB")
    assert await generations.advance() is Loss.PARTLY_EMPTIED
    away.admit_only(None)
    assert await generations.advance() is None
