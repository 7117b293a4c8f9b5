"""The store behind its breaker, with a store that the test plays and in virtual time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import pytest

from gateway.config.policies import Breaker as Table
from gateway.resilience.breaker import Breaker
from gateway.resilience.breaker_model import State
from gateway.resilience.store_guard import StoreGuard
from primitives.unit_of_work import unit_of_work
from store import Reason, StoreTimeout, StoreUnavailable
from tests.virtual_time import in_virtual_time, loop_time

TABLE = Table(window_s=1.0, min_calls=10, open_s=0.2, max_open_s=1.0, ramp_s=1.0, slow_call_s=0.2)


class PlayedStore:
    def __init__(self) -> None:
        self.answered = 0
        self.failed = 0
        self.oldest_queued_at: float | None = None
        self.admits: Callable[[], bool] | None = None
        self.is_well = True
        self.probes = 0
        self.refuses_writes: Reason | None = None

    def admit_only(self, admits: Callable[[], bool] | None) -> None:
        self.admits = admits

    async def probe(self) -> bytes:
        self.probes += 1
        if not self.is_well:
            await asyncio.sleep(0.25)
            raise StoreTimeout("no reply")
        if self.refuses_writes is not None:
            raise StoreUnavailable("the store cannot serve now", reason=self.refuses_writes)
        return b"OK"

    def admits_call(self) -> bool:
        """Whether a call that is made now would be sent."""
        return self.admits is None or self.admits()


class Bench:
    def __init__(self) -> None:
        self.store = PlayedStore()
        self.chances = itertools.cycle([0.999])
        self.breaker = Breaker("store", TABLE, clock=loop_time, rng=lambda: next(self.chances))
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
    assert (bench.store.admits, bench.store.probes) == (None, 0)
    assert bench.breaker.outcomes["ok"] == 1000


@in_virtual_time
async def test_a_failing_store_is_cut_off_at_the_next_check() -> None:
    bench = Bench()
    await bench.trip()
    await asyncio.sleep(0.01)
    with unit_of_work():
        assert not bench.store.admits_call()
    assert bench.breaker.outcomes["rejected"] == 1


@in_virtual_time
async def test_it_is_probed_until_it_recovers_by_a_ramp() -> None:
    bench = Bench()
    await bench.trip()
    watching = asyncio.ensure_future(bench.guard.watch())
    await asyncio.sleep(5.0)
    assert bench.is_in(State.OPEN)
    assert 4 <= bench.store.probes <= 9  # after 0.2, 0.4, 0.8 and then about every second

    bench.store.is_well = True
    while not bench.is_in(State.RAMPING):  # noqa: ASYNC110 - waiting is free in virtual time
        await asyncio.sleep(0.01)
    with unit_of_work():
        assert not bench.store.admits_call()
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
    await asyncio.sleep(0.01)
    with unit_of_work():
        assert not bench.store.admits_call()
    bench.breaker.release()
    await bench.guard.check()
    assert bench.is_in(State.RAMPING)


# Units of work


async def ramping(*chances: float) -> Bench:
    """A store that has just recovered, half-way through the ramp; a call is admitted by a chance below 0.5."""
    bench = Bench()
    await bench.trip()
    bench.store.is_well = True
    while not bench.is_in(State.RAMPING):
        await asyncio.sleep(0.05)
        await bench.guard.check()
    await asyncio.sleep(TABLE.ramp_s / 2)
    bench.chances = itertools.cycle(chances)
    return bench


@in_virtual_time
async def test_while_it_ramps_up_the_calls_of_a_unit_are_all_admitted_or_all_rejected() -> None:
    bench = await ramping(0.1, 0.9)
    units = []
    for _ in range(10):
        with unit_of_work():
            units.append({bench.store.admits_call() for _ in range(6)})
    assert units == [{True}, {False}] * 5


@in_virtual_time
async def test_tasks_of_a_unit_share_its_decision() -> None:
    bench = await ramping(0.1, 0.9)

    async def call() -> bool:
        await asyncio.sleep(0.01)
        return bench.store.admits_call()

    for is_admitted in (True, False):
        with unit_of_work():
            calls = [asyncio.ensure_future(call()) for _ in range(4)]
        assert await asyncio.gather(*calls) == [is_admitted] * 4


@in_virtual_time
async def test_a_unit_that_was_admitted_goes_on_while_the_breaker_is_open_again() -> None:
    bench = await ramping(0.1)
    with unit_of_work():
        assert bench.store.admits_call()
        bench.breaker.trip("drill")
        await bench.guard.check()
        assert bench.store.admits_call()
        with unit_of_work():
            assert not bench.store.admits_call()
        assert bench.store.admits_call()


@in_virtual_time
async def test_a_unit_that_began_before_the_breaker_opened_goes_on() -> None:
    bench = Bench()
    with unit_of_work():
        bench.breaker.trip("drill")
        await bench.guard.check()
        await asyncio.sleep(1.0)
        assert bench.store.admits_call()


@in_virtual_time
async def test_a_unit_that_began_in_an_earlier_outage_goes_on() -> None:
    bench = Bench()
    bench.breaker.trip("drill")
    await bench.guard.check()
    await asyncio.sleep(0.01)
    with unit_of_work():
        bench.breaker.release()
        await bench.guard.check()
        await asyncio.sleep(TABLE.ramp_s + 0.1)
        await bench.guard.check()
        assert not bench.is_gated()
        bench.breaker.trip("another drill")
        await bench.guard.check()
        assert bench.store.admits_call()


@in_virtual_time
async def test_work_outside_of_any_unit_is_admitted() -> None:
    bench = Bench()
    await bench.trip()
    assert bench.store.admits_call()


@in_virtual_time
async def test_units_are_decided_while_the_breaker_is_not_closed_only() -> None:
    bench = Bench()
    changes: list[bool] = []
    bench.guard.on_gated(changes.append)
    assert changes == [False]
    bench.breaker.trip("drill")
    await bench.guard.check()
    late: list[bool] = []
    bench.guard.on_gated(late.append)
    bench.breaker.release()
    await bench.guard.check()
    await asyncio.sleep(TABLE.ramp_s + 0.1)
    await bench.guard.check()
    assert (changes, late) == ([False, True], [True, False])


# A store without room


@pytest.mark.parametrize("reason", [Reason.FULL_MEMORY, Reason.FULL_DISK])
def test_a_store_without_room_is_not_cut_off_because_it_serves_reads(reason: Reason) -> None:
    @in_virtual_time
    async def test() -> None:
        bench = Bench()
        await bench.trip()
        bench.store.is_well, bench.store.refuses_writes = True, reason
        while bench.is_in(State.OPEN):
            await asyncio.sleep(0.05)
            await bench.guard.check()
        assert bench.is_in(State.RAMPING)

    test()


@in_virtual_time
async def test_a_store_that_refuses_writes_for_another_reason_stays_cut_off() -> None:
    bench = Bench()
    await bench.trip()
    bench.store.is_well, bench.store.refuses_writes = True, Reason.READONLY
    for _ in range(100):
        await asyncio.sleep(0.05)
        await bench.guard.check()
    assert bench.is_in(State.OPEN)
