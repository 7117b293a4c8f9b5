"""Calls beside a breaker, of orders that have waited for a response in vain."""

from __future__ import annotations

import pytest

from checkout.errors import Declined, DependencyTripped
from gateway.resilience.breaker_model import State
from gateway.resilience.uncounted import Uncounted
from tests.unit.gateway.resilience.test_breaker import TABLE, Bench


async def times_out() -> None:
    raise TimeoutError


async def declines() -> None:
    raise Declined("no funds")


async def replies() -> str:
    return "done"


async def test_their_failures_do_not_open_the_circuit() -> None:
    bench = Bench()
    for _ in range(5 * TABLE.min_calls):
        with pytest.raises(TimeoutError):
            await Uncounted(bench.breaker).call(times_out)
    assert bench.is_in(State.CLOSED)
    assert bench.breaker.outcomes["failed"] == 0


async def test_an_open_circuit_does_not_stop_them_and_is_not_closed_by_them() -> None:
    bench = await Bench().opened()
    assert await Uncounted(bench.breaker).call(replies) == "done"
    assert bench.is_in(State.OPEN)


async def test_a_failure_during_an_outage_is_that_of_the_service() -> None:
    bench = await Bench().opened()
    with pytest.raises(DependencyTripped) as tripped:
        await Uncounted(bench.breaker).call(times_out)
    assert tripped.value.was_called
    with pytest.raises(Declined):
        await Uncounted(bench.breaker).call(declines)


async def test_a_drill_stops_them() -> None:
    bench = Bench()
    bench.breaker.trip("drill")
    with pytest.raises(DependencyTripped) as tripped:
        await Uncounted(bench.breaker).call(replies)
    assert not tripped.value.was_called


async def test_a_rejected_call_was_not_made_and_a_failed_probe_was() -> None:
    bench = await Bench().opened()
    with pytest.raises(DependencyTripped) as rejected:
        await bench.call()
    assert not rejected.value.was_called
    bench.time += 1.0
    with pytest.raises(DependencyTripped) as probe:
        await bench.call(TimeoutError())
    assert probe.value.was_called
