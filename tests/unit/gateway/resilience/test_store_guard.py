"""The store behind its breaker, with a store that the test plays and in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.config.policies import Breaker as Table
from gateway.resilience.breaker import Breaker
from gateway.resilience.breaker_model import State
from gateway.resilience.store_guard import StoreGuard
from store import StoreTimeout
from tests.virtual_time import in_virtual_time, loop_time

TABLE = Table(window_s=1.0, min_calls=10, open_s=0.2, max_open_s=1.0, ramp_s=1.0, slow_call_s=0.2)


class PlayedStore:
    def __init__(self) -> None:
        self.answered = 0
        self.failed = 0
        self.oldest_queued_at: float | None = None
        self.admits: Callable[[], bool] | None = None
        self.is_well = True
        self.pings = 0

    def admit_only(self, admits: Callable[[], bool] | None) -> None:
        self.admits = admits

    async def ping(self) -> bytes:
        self.pings += 1
        if not self.is_well:
            await asyncio.sleep(0.25)
            raise StoreTimeout("no reply")
        return b"PONG"


class Bench:
    def __init__(self) -> None:
        self.store = PlayedStore()
        self.breaker = Breaker("store", TABLE, clock=loop_time, rng=lambda: 0.999)
        self.guard = StoreGuard(self.store, self.breaker)

    def is_in(self, state: State) -> bool:
        return self.breaker.state is state

    def is_gated(self) -> bool:
        return self.store.admits is not None

    async def trip(self) -> None:
        self.store.is_well = False
        self.store.failed += 10
        await self.guard.check()
        assert self.is_in(State.OPEN)


@in_virtual_time
async def test_a_healthy_store_is_not_gated() -> None:
    bench = Bench()
    bench.store.answered += 1000
    bench.store.failed += 10
    await bench.guard.check()
    assert bench.is_in(State.CLOSED)
    assert (bench.store.admits, bench.store.pings) == (None, 0)
    assert bench.breaker.outcomes["ok"] == 1000


@in_virtual_time
async def test_a_failing_store_is_cut_off_at_the_next_check() -> None:
    bench = Bench()
    await bench.trip()
    assert bench.store.admits is not None
    assert not bench.store.admits()
    assert bench.breaker.outcomes["rejected"] == 1


@in_virtual_time
async def test_it_is_probed_until_it_recovers_by_a_ramp() -> None:
    bench = Bench()
    await bench.trip()
    watching = asyncio.ensure_future(bench.guard.watch())
    await asyncio.sleep(5.0)
    assert bench.is_in(State.OPEN)
    assert 4 <= bench.store.pings <= 9  # after 0.2, 0.4, 0.8 and then about every second

    bench.store.is_well = True
    while not bench.is_in(State.RAMPING):  # noqa: ASYNC110 - waiting is free in virtual time
        await asyncio.sleep(0.01)
    assert bench.store.admits is not None
    assert not bench.store.admits()
    await asyncio.sleep(1.1)
    assert bench.is_in(State.CLOSED)
    assert not bench.is_gated()
    watching.cancel()


@in_virtual_time
async def test_a_store_that_has_become_slow_is_cut_off() -> None:
    bench = Bench()
    bench.store.oldest_queued_at = loop_time()
    for _ in range(24):
        await asyncio.sleep(0.05)
        bench.store.answered += 10
        await bench.guard.check()
    assert [entry["reason"] for entry in bench.breaker.snapshot()["history"]][1] == "160 of 190 calls were slow"


@in_virtual_time
async def test_a_process_that_was_paused_does_not_count_its_store_as_slow() -> None:
    bench = Bench()
    await bench.guard.check()
    bench.store.oldest_queued_at = loop_time()
    bench.store.answered += 1000
    await asyncio.sleep(3.0)
    await bench.guard.check()
    assert bench.is_in(State.CLOSED)
    assert bench.breaker.outcomes["slow"] == 0


@in_virtual_time
async def test_a_drill_cuts_a_healthy_store_off() -> None:
    bench = Bench()
    bench.breaker.trip("drill")
    await bench.guard.check()
    assert bench.store.admits is not None
    assert not bench.store.admits()
    bench.breaker.release()
    await bench.guard.check()
    assert bench.is_in(State.RAMPING)
