"""Load shedding over minutes of simulated time, with the processor or a dependency as the bottleneck."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from gateway.config.policies import CRITICALITIES, Shedding
from tests.unit.gateway.resilience.simulated_server import SALE, SHED_COST, Dependency, Outcome, SimulatedServer

pytestmark = pytest.mark.slow

TARGET_S = 0.005
# Requests that the processor serves a second; a dependency that serves a tenth of them.
PROCESSOR = 5_000
SLOW = 500
# A request shed by chance, or while the mix of requests changes.
TOLERANCE = 0.01


def processor_bound(*, target_s: float = TARGET_S) -> SimulatedServer:
    """The loop lag rises before anything else."""
    return SimulatedServer(Shedding(lag_target_s=target_s), serve_s=1 / PROCESSOR)


def dependency_bound() -> SimulatedServer:
    """A dependency of 5 places of 10 ms, which needs 5 requests in flight."""
    table = Shedding(lag_target_s=TARGET_S, min_concurrency=5, max_concurrency=500)
    return SimulatedServer(table, serve_s=1 / PROCESSOR, dependency=Dependency(takes_s=0.01, places=5))


def best_goodput(times: float) -> float:
    """Requests that can be served a second at this multiple of the capacity: shedding one takes a part of the time."""
    return PROCESSOR * (1 - SHED_COST * times) / (1 - SHED_COST)


def is_in_order(shares: Sequence[float], *, tolerance: float) -> bool:
    """Whether all of the less critical are shed where one of the more critical is; the most critical come first."""
    return all(more <= tolerance or less >= 1 - tolerance for more, less in itertools.pairwise(shares))


def shed(outcome: Outcome) -> list[float]:
    """The share of each criticality that was shed."""
    return [outcome.shed_of(name) for name in CRITICALITIES]


# The processor


def test_nothing_is_shed_below_capacity() -> None:
    server = processor_bound()

    assert server.run(0.9 * PROCESSOR, 20).shed_share == 0


@pytest.mark.parametrize(("times", "least_share"), [(2, 0.85), (3, 0.70)])
def test_goodput_stays_high_under_overload(times: float, least_share: float) -> None:
    server = processor_bound()
    server.run(0.7 * PROCESSOR, 2)

    overloaded = server.run(times * PROCESSOR, 10)

    # Nearly the best possible, though part of the time goes into shedding.
    assert overloaded.served_per_s > 0.97 * best_goodput(times)
    assert overloaded.served_per_s > least_share * best_goodput(1) * 0.9


@pytest.mark.parametrize("times", [1.1, 1.5, 2, 3, 4])
def test_the_less_critical_are_shed_first_and_the_checkout_last(times: float) -> None:
    server = processor_bound()
    server.run(times * PROCESSOR, 1)
    at_each_tick: list[list[float]] = []

    overloaded = server.run(
        times * PROCESSOR, 10, each_tick=lambda: at_each_tick.append([*server.shedder.pressure.shares])
    )

    assert all(is_in_order(shares, tolerance=0) for shares in at_each_tick)
    # The share changes from tick to tick around the boundary between two criticalities.
    assert is_in_order(shed(overloaded), tolerance=0.2)
    assert overloaded.shed_of("checkout") < TOLERANCE


def test_the_first_moment_of_overload_sheds_no_checkout() -> None:
    server = processor_bound()
    server.run(0.7 * PROCESSOR, 2)

    assert server.run(3 * PROCESSOR, 1).shed_of("checkout") == 0


def test_checkouts_are_shed_when_they_alone_are_too_many() -> None:
    server = SimulatedServer(Shedding(lag_target_s=TARGET_S), serve_s=1 / PROCESSOR, mix={"checkout": 1})
    server.run(2 * PROCESSOR, 2)

    overloaded = server.run(2 * PROCESSOR, 10)

    assert overloaded.served_per_s > 0.95 * best_goodput(2)
    assert 0.4 < overloaded.shed_of("checkout") < 0.7


@pytest.mark.parametrize("times", [1.2, 2, 3])
@pytest.mark.parametrize("target_s", [0.003, 0.005, 0.02])
def test_served_requests_wait_a_few_times_the_target(times: float, target_s: float) -> None:
    server = processor_bound(target_s=target_s)
    server.run(times * PROCESSOR, 2)

    # Two iterations of the loop, for the request and for the reply, some of them longer than the target.
    assert server.run(times * PROCESSOR, 8).percentile_s(0.99) < 6 * target_s


@pytest.mark.parametrize("times", [1.2, 2, 3])
def test_five_seconds_after_the_load_stops_nothing_is_shed(times: float) -> None:
    server = processor_bound()
    server.run(times * PROCESSOR, 5)
    server.run(0.7 * PROCESSOR, 2.5)

    recovered = server.run(0.7 * PROCESSOR, 2.5)

    assert recovered.shed_share == 0
    assert server.shedder.pressure.value == 0


def test_shedding_does_not_swing_between_all_and_nothing() -> None:
    server = processor_bound()
    server.run(2 * PROCESSOR, 2)
    pressures: list[float] = []

    server.run(2 * PROCESSOR, 10, each_tick=lambda: pressures.append(server.shedder.pressure.value))

    # Shedding costs 0.15 of serving, so a share of 0.59 is needed at twice the capacity.
    assert min(pressures) > 0.3
    assert max(pressures) < 0.85


def test_a_burst_from_idle_is_served_whole() -> None:
    server = processor_bound()
    server.run(10, 20)

    # A tenth of a second of work.
    assert server.burst(PROCESSOR // 10).shed_share == 0
    assert server.run(0.5 * PROCESSOR, 1).shed_share < 0.05


def test_an_overload_of_the_processor_does_not_lower_the_concurrency_limit() -> None:
    server = processor_bound()

    server.run(3 * PROCESSOR, 20)

    assert server.limit.limit >= 2 * PROCESSOR * TARGET_S * 0.5


# A dependency


@pytest.mark.parametrize("times", [1.1, 1.3])
def test_the_limit_does_not_drift_upward_in_minutes_of_modest_overload(times: float) -> None:
    server = dependency_bound()
    server.run(times * SLOW, 30)
    first = server.limit.limit

    overloaded = server.run(times * SLOW, 240)

    assert first < 25
    assert max(overloaded.limits) < 2 * first
    assert overloaded.limits[-1] < 1.5 * first
    assert overloaded.served_per_s > 0.95 * SLOW
    # The limit bounds their waiting.
    assert overloaded.percentile_s(0.99) < 0.06


@pytest.mark.parametrize("times", [1.1, 2, 3])
def test_behind_a_slow_dependency_the_checkout_is_shed_last(times: float) -> None:
    server = dependency_bound()
    server.run(times * SLOW, 30)

    overloaded = server.run(times * SLOW, 60)

    # Cart reads and calls of agents have nearly the same share of the limit.
    assert all(more <= less + 0.02 for more, less in itertools.pairwise(shed(overloaded)))
    assert overloaded.shed_of("checkout") < TOLERANCE


def test_the_limit_does_not_collapse_when_a_dependency_slows_for_a_moment() -> None:
    dependency = Dependency(takes_s=0.005, places=100)
    table = Shedding(lag_target_s=TARGET_S, min_concurrency=5, max_concurrency=1_000)
    server = SimulatedServer(table, serve_s=1 / 50_000, dependency=dependency)
    server.run(5_000, 15)

    dependency.takes_s *= 50
    slowed = server.run(5_000, 2)
    dependency.takes_s /= 50
    server.run(5_000, 1)
    recovered = server.run(5_000, 5)

    # 25 requests are in flight in good times, 50 with the lag that the loop may add.
    assert min(slowed.limits) > 75
    assert min(recovered.limits) > 75
    assert recovered.shed_share == 0


def test_the_limit_adapts_to_a_dependency_that_stays_slower() -> None:
    dependency = Dependency(takes_s=0.005)
    table = Shedding(lag_target_s=TARGET_S, min_concurrency=5, max_concurrency=1_000)
    server = SimulatedServer(table, serve_s=1 / 50_000, dependency=dependency)
    server.run(5_500, 15)

    # It delivers as much as before, with 550 requests in flight instead of 30.
    dependency.takes_s = 0.1
    at_once = server.run(5_500, 5)
    server.run(5_500, 10)
    followed = server.run(5_500, 30)

    assert min(at_once.limits) < 550
    assert followed.shed_share < 0.01


def test_the_limit_falls_with_the_rate_of_a_dependency() -> None:
    dependency = Dependency(takes_s=0.005, places=20)
    table = Shedding(lag_target_s=TARGET_S, min_concurrency=5, max_concurrency=1_000)
    server = SimulatedServer(table, serve_s=1 / 50_000, dependency=dependency)
    server.run(4_400, 30)

    dependency.takes_s = 0.05
    server.run(4_400, 25)
    followed = server.run(4_400, 30)

    assert followed.served_per_s == pytest.approx(400, rel=0.05)
    assert max(followed.limits) < 100


def test_behind_a_slow_dependency_nothing_is_shed_after_the_load_stops() -> None:
    server = dependency_bound()
    server.run(3 * SLOW, 30)
    server.run(0.5 * SLOW, 5)

    assert server.run(0.5 * SLOW, 5).shed_share < 0.001


def test_after_a_quiet_time_the_limit_admits_a_burst() -> None:
    server = dependency_bound()
    server.run(3 * SLOW, 30)
    server.run(10, 20)

    assert server.burst(300).shed_share == 0


def test_the_simulation_counts_all_arrivals() -> None:
    server = processor_bound()

    outcome = server.run(1.5 * PROCESSOR, 10)

    assert sum(outcome.served) + sum(outcome.shed) == pytest.approx(15 * PROCESSOR, rel=0.02)
    assert sum(SALE.values()) == 100


def test_checkouts_are_served_even_when_shedding_alone_exceeds_the_capacity() -> None:
    server = processor_bound()
    server.run(7 * PROCESSOR, 1)

    hopeless = server.run(7 * PROCESSOR, 2)

    assert hopeless.shed_of("checkout") < 0.7
    assert hopeless.shed_of("browse") == 1
