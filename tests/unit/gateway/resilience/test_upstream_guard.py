"""A breaker entered and left by plain calls."""

from __future__ import annotations

from gateway.config.policies import Breaker as Table
from gateway.resilience.breaker import Breaker, State
from gateway.resilience.upstream_guard import UpstreamGuard


class Bench:
    def __init__(self) -> None:
        self.time = 100.0
        table = Table(minimum_calls=3, open_s=1.0, ramp_s=5.0, slow_call_s=2.0)
        self.breaker = Breaker("reviews", table, clock=lambda: self.time, rng=lambda: 0.0)
        self.guard = UpstreamGuard(self.breaker, clock=lambda: self.time)

    def stands(self, state: State) -> bool:
        return self.breaker.state is state

    def trip(self) -> None:
        for _ in range(3):
            assert self.guard.try_enter()
            self.guard.failed("status 503")
        assert self.stands(State.TRIPPED)


def test_failures_cut_the_upstream_off_and_a_good_probe_brings_it_back() -> None:
    bench = Bench()
    bench.trip()
    assert not bench.guard.try_enter()
    bench.time += 1.0
    assert bench.guard.try_enter()
    assert not bench.guard.try_enter()
    bench.guard.succeeded(0.01)
    assert bench.stands(State.RAMPING)


def test_slow_answers_cut_it_off_too() -> None:
    bench = Bench()
    for _ in range(3):
        assert bench.guard.try_enter()
        bench.time += 2.5
        bench.guard.succeeded(2.5)
    assert bench.stands(State.TRIPPED)


def test_shoppers_who_leave_say_nothing() -> None:
    bench = Bench()
    for _ in range(9):
        assert bench.guard.try_enter()
        bench.guard.abandoned()
    assert bench.stands(State.PASSING)


def test_a_probe_that_a_shopper_left_makes_room_for_the_next() -> None:
    bench = Bench()
    bench.trip()
    bench.time += 1.0
    assert bench.guard.try_enter()
    bench.guard.abandoned()
    assert bench.guard.try_enter()
    assert bench.stands(State.PROBING)


def test_late_news_of_a_call_from_before_the_trip_does_not_end_the_probe() -> None:
    bench = Bench()
    for _ in range(3):
        assert bench.guard.try_enter()
    bench.trip()
    bench.time += 1.0
    assert bench.guard.try_enter()
    bench.guard.failed("late")
    bench.guard.succeeded(1.5)
    bench.guard.abandoned()
    assert bench.stands(State.PROBING)
    bench.guard.failed("status 503")
    assert bench.stands(State.TRIPPED)


def test_a_probe_that_succeeds_is_known_by_its_age_although_older_calls_are_under_way() -> None:
    bench = Bench()
    assert bench.guard.try_enter()
    bench.trip()
    bench.time += 1.0
    assert bench.guard.try_enter()
    bench.time += 0.01
    bench.guard.succeeded(0.01)
    assert bench.stands(State.RAMPING)
    bench.guard.failed("late")
    assert bench.breaker.snapshot()["window"]["calls"] == 0
