"""Work that runs on one connection to the store, or fails."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars

import pytest

from store import Client, Connection, PinnedStore, Script, StoreUnavailable, connection_of
from tests.waiting import WITHIN_S

INCREMENT = Script("return redis.call('INCR', KEYS[1])")


async def reconnected(store: Client) -> None:
    """Lose the connection, and wait until the client has another."""
    lost = Connection(store)
    with contextlib.suppress(StoreUnavailable):
        await store.execute("CLIENT", "KILL", "ID", await store.execute("CLIENT", "ID"), "SKIPME", "no")
    async with asyncio.timeout(WITHIN_S):
        while not (lost.is_lost and store.is_connected):  # noqa: ASYNC110 - the connection is what changes
            await asyncio.sleep(0.01)


async def test_commands_outside_of_a_block_use_whatever_connection_there_is(store: Client) -> None:
    pinned = PinnedStore(store)
    await pinned.execute("SET", "k", "1")
    await reconnected(store)
    assert await pinned.execute("GET", "k") == b"1"


async def test_a_block_whose_connection_is_lost_runs_nothing_more(store: Client) -> None:
    pinned = PinnedStore(store)
    with pinned.pinned():
        assert await pinned.run(INCREMENT, ["n"]) == 1
        await reconnected(store)
        for call in (
            pinned.run(INCREMENT, ["n"]),
            pinned.execute("INCR", "n"),
            pinned.execute_blocking("INCR", "n", timeout_s=1),
        ):
            with pytest.raises(StoreUnavailable) as lost:
                await call
            assert not lost.value.may_have_run
    assert await pinned.execute("GET", "n") == b"1"
    with pinned.pinned():
        assert await pinned.run(INCREMENT, ["n"]) == 2


async def test_work_whose_steps_run_in_other_contexts_is_pinned_and_leaves_no_pin(store: Client) -> None:
    """As the handler of a request is run: each step in the context of the reply that it awaited."""
    pinned = PinnedStore(store)

    async def work() -> object:
        assert await pinned.execute("INCR", "n") == 1
        await reconnected(store)
        return await pinned.execute("INCR", "n")

    steps = pinned.run_pinned(work())
    outer = contextvars.copy_context()

    async def step_through() -> None:
        context = outer
        while True:
            future = context.run(steps.send, None)
            future._asyncio_future_blocking = False
            await asyncio.wait([future])
            context = contextvars.Context()

    with pytest.raises(StoreUnavailable, match="since this work began"):
        await step_through()
    assert await outer.run(pinned.execute, "INCR", "n") == 2
    assert await pinned.execute("INCR", "n") == 3


async def test_tasks_of_a_block_are_pinned_too_and_others_are_not(store: Client) -> None:
    pinned = PinnedStore(store)

    async def later() -> object:
        await lost.wait()
        return await pinned.execute("INCR", "n")

    lost = asyncio.Event()
    with pinned.pinned():
        inside = asyncio.create_task(later())
    outside = asyncio.create_task(later())
    await reconnected(store)
    lost.set()
    assert await outside == 1
    with pytest.raises(StoreUnavailable):
        await inside


async def test_a_command_that_was_not_sent_when_the_connection_was_lost_is_not_sent_on_the_next(store: Client) -> None:
    connection = Connection(store)
    free, bound = store.execute("INCR", "free"), connection.execute("INCR", "bound")
    # Before the loop's next tick, in which both would be sent.
    store.connection_lost(None)
    with pytest.raises(StoreUnavailable) as lost:
        await bound
    assert not lost.value.may_have_run
    assert await free == 1
    assert await store.execute("GET", "bound") is None
    # A command that was sent is not failed by a later loss.
    connection = Connection(store)
    assert await connection.execute("INCR", "bound") == 1
    store.connection_lost(None)
    assert connection.is_lost


async def test_a_block_that_begins_without_a_connection_uses_the_next_one(store: Client) -> None:
    store.connection_lost(None)
    assert not store.is_connected
    pinned = PinnedStore(store)
    with pinned.pinned():
        assert await pinned.execute("INCR", "n") == 1


async def test_a_store_has_a_connection_if_it_is_one(store: Client) -> None:
    pinned = PinnedStore(store)
    with pinned.pinned():
        inside = connection_of(pinned)
        assert connection_of(pinned) is inside
    assert inside is not None
    assert inside.client is store
    assert connection_of(store) is not None
