"""A breaker entered and left by plain calls."""

from __future__ import annotations

from gateway.config.policies import Breaker as Table
from gateway.resilience.breaker import Breaker
from gateway.resilience.breaker_model import State
from gateway.resilience.upstream_guard import UpstreamGuard


class Bench:
    def __init__(self) -> None:
        self.time = 100.0
        table = Table(min_calls=3, open_s=1.0, ramp_s=5.0, slow_call_s=2.0)
        self.breaker = Breaker("reviews", table, clock=lambda: self.time, rng=lambda: 0.0)
        self.guard = UpstreamGuard(self.breaker, clock=lambda: self.time)

    def is_in(self, state: State) -> bool:
        return self.breaker.state is state

    def trip(self) -> None:
        for _ in range(3):
            assert self.guard.try_enter()
            self.guard.failed("status 503")
        assert self.is_in(State.OPEN)


def test_failures_cut_the_upstream_off_and_a_good_probe_brings_it_back() -> None:
    bench = Bench()
    bench.trip()
    assert not bench.guard.try_enter()
    bench.time += 1.0
    assert bench.guard.try_enter()
    assert not bench.guard.try_enter()
    bench.guard.succeeded(0.01)
    assert bench.is_in(State.RAMPING)


def test_slow_responses_trip_it_too() -> None:
    bench = Bench()
    for _ in range(3):
        assert bench.guard.try_enter()
        bench.time += 2.5
        bench.guard.succeeded(2.5)
    assert bench.is_in(State.OPEN)


def test_abandoned_calls_do_not_count() -> None:
    bench = Bench()
    for _ in range(9):
        assert bench.guard.try_enter()
        bench.guard.abandoned()
    assert bench.is_in(State.CLOSED)


def test_an_abandoned_probe_allows_the_next_one() -> None:
    bench = Bench()
    bench.trip()
    bench.time += 1.0
    assert bench.guard.try_enter()
    bench.guard.abandoned()
    assert bench.guard.try_enter()
    assert bench.is_in(State.HALF_OPEN)


def test_a_late_outcome_of_a_call_from_before_the_trip_does_not_end_the_probe() -> None:
    bench = Bench()
    for _ in range(3):
        assert bench.guard.try_enter()
    bench.trip()
    bench.time += 1.0
    assert bench.guard.try_enter()
    bench.guard.failed("late")
    bench.guard.succeeded(1.5)
    bench.guard.abandoned()
    assert bench.is_in(State.HALF_OPEN)
    bench.guard.failed("status 503")
    assert bench.is_in(State.OPEN)


def test_a_good_probe_is_recognised_by_its_age_while_older_calls_run() -> None:
    bench = Bench()
    assert bench.guard.try_enter()
    bench.trip()
    bench.time += 1.0
    assert bench.guard.try_enter()
    bench.time += 0.01
    bench.guard.succeeded(0.01)
    assert bench.is_in(State.RAMPING)
    bench.guard.failed("late")
    assert bench.breaker.snapshot()["window"]["calls"] == 0
