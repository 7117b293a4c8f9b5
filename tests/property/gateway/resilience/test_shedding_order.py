"""Invariants of load shedding under any load."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gateway.config.policies import CRITICALITIES, Shedding
from gateway.resilience.concurrency import ConcurrencyLimit
from gateway.resilience.pressure import Pressure
from tests.unit.gateway.resilience.simulated_server import Dependency, SimulatedServer

LEVELS = len(CRITICALITIES)
STEPS = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.floats(0, 1),
        st.floats(0, 2),
        st.lists(st.integers(0, 500), min_size=LEVELS, max_size=LEVELS),
    ),
    max_size=60,
)
WEIGHTS = st.dictionaries(st.sampled_from(CRITICALITIES), st.integers(1, 100), min_size=1)


@given(STEPS)
def test_nothing_is_shed_while_a_less_critical_request_is_admitted(
    steps: list[tuple[float, float, float, list[int]]],
) -> None:
    pressure = Pressure(LEVELS, target_s=0.005, rng=lambda: 0.5)
    for late_s, lag_s, elapsed_s, arrived in steps:
        pressure.observe(late_s, lag_s, elapsed_s, arrived)

        assert 0 <= pressure.value <= 1
        assert all(0 <= share <= 1 for share in pressure.shares)
        assert all(more == 0 or less == 1 for more, less in itertools.pairwise(pressure.shares))


@given(
    st.lists(st.floats(0, 0.02), min_size=1, max_size=100),
    st.lists(st.integers(1, 500), min_size=LEVELS, max_size=LEVELS),
)
def test_the_shares_add_up_to_the_pressure(lags_s: list[float], mix: list[int]) -> None:
    pressure = Pressure(LEVELS, target_s=0.005)
    for lag_s in lags_s:
        pressure.observe(lag_s, lag_s, 0.01, mix)

    shed = sum(share * come for share, come in zip(pressure.shares, mix, strict=True))
    assert shed == pytest.approx(pressure.value * sum(mix), abs=1e-6 * sum(mix))


@given(st.data(), st.integers(1, 50), st.integers(50, 2000))
def test_the_limit_stays_within_its_bounds_and_no_request_in_flight_is_lost(data: Any, least: int, most: int) -> None:
    limit = ConcurrencyLimit(min_limit=least, max_limit=most, grace_s=0.005, now=0.0)
    now, began = 0.0, list[float]()
    for step_s, enter, leave, delivered in data.draw(
        st.lists(st.tuples(st.floats(0, 1), st.integers(0, 300), st.floats(0, 1), st.booleans()), max_size=80)
    ):
        now += step_s
        for _ in range(enter):
            if limit.has_room(1.0):
                limit.acquire()
                began.append(now)
        for began_at in began[: int(leave * len(began))]:
            limit.release(began_at, now, delivered=delivered)
        began = began[int(leave * len(began)) :]
        limit.update(now)

        assert limit.in_flight == len(began)
        assert least <= limit.limit <= most
        # An idle dependency always admits a request.
        assert began or limit.has_room(1.0)


@settings(max_examples=15, deadline=None)
@given(WEIGHTS, st.floats(1.1, 3.5), st.integers(0, 1000), st.sampled_from([0.0002, 0.0005]))
def test_goodput_is_near_the_best_for_any_mix(mix: dict[str, int], times: float, seed: int, serve_s: float) -> None:
    server = SimulatedServer(Shedding(lag_target_s=0.01), serve_s=serve_s, mix=mix, seed=seed)
    server.run(times / serve_s, 2)

    overloaded = server.run(times / serve_s, 4)
    server.run(0.5 / serve_s, 3)

    assert overloaded.served_per_s * serve_s > 0.9 * (1 - 0.15 * times) / 0.85
    assert server.run(0.5 / serve_s, 2).shed_share == 0


@settings(max_examples=8, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(st.floats(0.02, 0.2), st.integers(2, 12), st.floats(1.4, 3), st.integers(0, 1000))
def test_the_queue_of_any_dependency_is_bounded_and_it_stays_busy(
    takes_s: float, places: int, times: float, seed: int
) -> None:
    table = Shedding(lag_target_s=0.005, min_concurrency=4, max_concurrency=100)
    dependency = Dependency(takes_s=takes_s, places=places)
    server = SimulatedServer(table, serve_s=1e-5, dependency=dependency, seed=seed)
    can_serve = places / takes_s
    server.run(times * can_serve, 25)

    overloaded = server.run(times * can_serve, 10)

    # Twice the need, with the lag that the loop may add, and the highest sample of a window on top.
    assert max(overloaded.limits) <= max(4, 3.5 * can_serve * (takes_s + 0.005) + 4)
    assert overloaded.served_per_s > 0.85 * can_serve
