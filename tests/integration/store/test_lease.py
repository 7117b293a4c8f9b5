"""A lease on the embedded server: exclusive, expiring, and renewed or released by its holder only."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from store import Client, Lease, LeaseBusy, LeaseLost, Script, StoreUnavailable
from store.client import Reply
from store.lease import RENEW
from store.resp import Arg
from tests.waiting import WITHIN_S

KEY = "a:lease"
LONG_MS = 60_000


def a_lease(store: Client, *, ttl_ms: int = LONG_MS) -> Lease:
    return Lease(store, KEY, ttl_ms=ttl_ms)


async def test_a_lease_has_one_holder(store: Client) -> None:
    holder, other = a_lease(store), a_lease(store)
    assert await holder.acquire()
    assert not await other.acquire()
    assert await holder.acquire()
    assert not await other.acquire()


async def test_of_simultaneous_acquisitions_one_succeeds(store: Client) -> None:
    results = await asyncio.gather(*(a_lease(store).acquire() for _ in range(20)))
    assert results.count(True) == 1


async def test_leases_of_different_keys_are_independent(store: Client) -> None:
    assert await a_lease(store).acquire()
    assert await Lease(store, "another:lease", ttl_ms=LONG_MS).acquire()


async def test_a_lease_expires(store: Client) -> None:
    holder, other = a_lease(store, ttl_ms=20), a_lease(store)
    assert await holder.acquire()
    async with asyncio.timeout(WITHIN_S):
        while not await other.acquire():
            pass
    assert not await holder.acquire()


@pytest.mark.parametrize("extend", [Lease.acquire, Lease.renew])
async def test_the_holder_extends_its_lease(store: Client, extend: Callable[[Lease], Awaitable[bool]]) -> None:
    holder = a_lease(store)
    assert await holder.acquire()
    await store.execute("PEXPIRE", KEY, 5_000)
    assert await extend(holder)
    assert 5_000 < await store.execute("PTTL", KEY) <= LONG_MS


async def test_only_the_holder_renews_a_lease(store: Client) -> None:
    assert await a_lease(store).acquire()
    await store.execute("PEXPIRE", KEY, 5_000)
    assert not await a_lease(store).renew()
    assert await store.execute("PTTL", KEY) <= 5_000


async def test_a_renewal_does_not_acquire_an_expired_lease(store: Client) -> None:
    holder = a_lease(store)
    assert await holder.acquire()
    await store.execute("DEL", KEY)
    assert not await holder.renew()
    assert await store.execute("EXISTS", KEY) == 0


async def test_only_the_holder_releases_a_lease(store: Client) -> None:
    holder, other = a_lease(store), a_lease(store)
    assert await holder.acquire()
    assert not await other.release()
    assert not await other.acquire()
    assert await holder.release()
    assert await other.acquire()
    assert not await holder.release()


async def test_a_held_lease_is_exclusive_and_released_at_the_end(store: Client) -> None:
    async with a_lease(store).hold(wait_s=5):
        with pytest.raises(LeaseBusy):
            async with a_lease(store).hold(wait_s=0.01):
                pytest.fail("two holders at once")
        assert not await a_lease(store).acquire()
    assert await store.execute("EXISTS", KEY) == 0


async def test_a_store_that_replies_late_does_not_make_a_free_lease_a_busy_one(store: Client) -> None:
    class Late:
        async def run(self, *call: Any) -> Any:
            await asyncio.sleep(0.05)
            return await store.run(*call)

    late: Any = Late()
    async with Lease(late, KEY, ttl_ms=LONG_MS).hold(wait_s=0.01):
        assert not await a_lease(store).acquire()


async def test_a_failed_block_releases_the_lease(store: Client) -> None:
    with pytest.raises(ZeroDivisionError):
        async with a_lease(store).hold(wait_s=5):
            raise ZeroDivisionError
    assert await store.execute("EXISTS", KEY) == 0


async def test_a_timeout_inside_the_block_is_not_a_lost_lease(store: Client) -> None:
    with pytest.raises(TimeoutError):
        async with a_lease(store).hold(wait_s=5):
            raise TimeoutError


async def test_a_cancelled_block_releases_the_lease(store: Client) -> None:
    is_held = asyncio.Event()

    async def work() -> None:
        async with a_lease(store).hold(wait_s=5):
            is_held.set()
            await asyncio.Event().wait()

    working = asyncio.create_task(work())
    await is_held.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert await store.execute("EXISTS", KEY) == 0


async def test_a_held_lease_is_renewed(store: Client) -> None:
    delays: list[float] = []
    is_renewed = asyncio.Event()

    async def sleep(delay_s: float) -> None:
        delays.append(delay_s)
        if len(delays) == 2:
            is_renewed.set()
            await asyncio.Event().wait()
        await store.execute("PEXPIRE", KEY, 5_000)

    async with a_lease(store).hold(wait_s=5, sleep=sleep):
        await is_renewed.wait()
        assert await store.execute("PTTL", KEY) > 5_000
    assert delays == [LONG_MS / 1000 / 4] * 2


async def test_a_waiting_holder_acquires_a_released_lease(store: Client) -> None:
    first = a_lease(store)
    assert await first.acquire()

    async def sleep(_delay_s: float) -> None:
        await first.release()

    async with a_lease(store).hold(wait_s=5, sleep=sleep):
        assert not await first.acquire()


async def test_a_block_whose_lease_is_lost_is_cancelled(store: Client) -> None:
    other = a_lease(store)

    async def sleep(_delay_s: float) -> None:
        await store.execute("DEL", KEY)
        assert await other.acquire()

    with pytest.raises(LeaseLost):
        async with a_lease(store).hold(wait_s=5, sleep=sleep):
            await asyncio.Event().wait()
    # The lease of the other holder is not released.
    assert await other.renew()


class StoreWithoutRenewals:
    """A store that is away for every renewal; `is_over` is set at the third."""

    def __init__(self, store: Client) -> None:
        self._store = store
        self.renewals = 0
        self.is_over = asyncio.Event()

    def execute(self, *command: Arg) -> Awaitable[Reply]:
        return self._store.execute(*command)

    def execute_blocking(self, *command: Arg, timeout_s: float) -> Awaitable[Reply]:
        return self._store.execute_blocking(*command, timeout_s=timeout_s)

    async def run(self, script: Script, keys: Sequence[Arg], args: Sequence[Arg] = ()) -> Reply:
        if script is not RENEW:
            return await self._store.run(script, keys, args)
        self.renewals += 1
        if self.renewals == 3:
            self.is_over.set()
        raise StoreUnavailable("away")


async def test_an_outage_of_the_store_does_not_cancel_the_block(store: Client) -> None:
    away = StoreWithoutRenewals(store)

    async def sleep(_delay_s: float) -> None:
        if away.renewals == 3:
            await asyncio.Event().wait()

    async with Lease(away, KEY, ttl_ms=LONG_MS).hold(wait_s=5, sleep=sleep):
        await away.is_over.wait()
    assert away.renewals == 3
    assert await store.execute("EXISTS", KEY) == 0
