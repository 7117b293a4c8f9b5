"""What load shedding does over minutes, in simulated time: with the processor as the bottleneck, and with a dependency."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from gateway.config.policies import CRITICALITIES, Shedding
from tests.unit.gateway.resilience.simulated_server import REFUSAL_SHARE, SALE, Dependency, SimulatedServer, Tally

TARGET_S = 0.005
# What the processor serves a second; a dependency that serves a tenth of it.
PROCESSOR = 5_000
SLOW = 500
# A shopper who is refused by chance, or while the mix of requests changes.
TOLERANCE = 0.01


def processor_bound(*, target_s: float = TARGET_S) -> SimulatedServer:
    """Rounds get long before anything else."""
    return SimulatedServer(Shedding(lag_target_s=target_s), serve_s=1 / PROCESSOR)


def dependency_bound() -> SimulatedServer:
    """A dependency of 5 places of 10 ms; so 5 in hand is all it needs."""
    table = Shedding(lag_target_s=TARGET_S, concurrency_least=5, concurrency_most=500)
    return SimulatedServer(table, serve_s=1 / PROCESSOR, dependency=Dependency(takes_s=0.01, places=5))


def best_goodput(times: float) -> float:
    """What can be served a second at so many times what can be: a refusal takes a part of the time to serve one."""
    return PROCESSOR * (1 - REFUSAL_SHARE * times) / (1 - REFUSAL_SHARE)


def is_in_order(shares: Sequence[float], *, tolerance: float) -> bool:
    """Whether all of the less critical are refused where one of the more critical is; the most critical come first."""
    return all(more <= tolerance or less >= 1 - tolerance for more, less in itertools.pairwise(shares))


def refused(tally: Tally) -> list[float]:
    """The share that was refused of each criticality."""
    return [tally.refused_of(name) for name in CRITICALITIES]


# The processor


def test_nobody_is_refused_below_capacity() -> None:
    server = processor_bound()

    assert server.run(0.9 * PROCESSOR, 20).refused_share == 0


@pytest.mark.parametrize(("times", "least_share"), [(2, 0.85), (3, 0.70)])
def test_goodput_is_kept_under_overload(times: float, least_share: float) -> None:
    server = processor_bound()
    server.run(0.7 * PROCESSOR, 2)

    overloaded = server.run(times * PROCESSOR, 10)

    # Nearly all there is to be had, though part of the time goes into refusing.
    assert overloaded.served_per_s > 0.97 * best_goodput(times)
    assert overloaded.served_per_s > least_share * best_goodput(1) * 0.9


@pytest.mark.parametrize("times", [1.1, 1.5, 2, 3, 4])
def test_the_less_critical_are_refused_first_and_the_checkout_last(times: float) -> None:
    server = processor_bound()
    server.run(times * PROCESSOR, 1)
    at_each_tick: list[list[float]] = []

    overloaded = server.run(
        times * PROCESSOR, 10, each_tick=lambda: at_each_tick.append([*server.shedder.pressure.shares])
    )

    assert all(is_in_order(shares, tolerance=0) for shares in at_each_tick)
    # How much is refused changes from tick to tick, and is more than the least critical now, and less then.
    assert is_in_order(refused(overloaded), tolerance=0.2)
    assert overloaded.refused_of("checkout") < TOLERANCE


def test_not_even_the_first_moment_of_overload_refuses_a_checkout() -> None:
    server = processor_bound()
    server.run(0.7 * PROCESSOR, 2)

    assert server.run(3 * PROCESSOR, 1).refused_of("checkout") == 0


def test_when_checkouts_alone_are_too_many_some_of_them_are_refused_too() -> None:
    server = SimulatedServer(Shedding(lag_target_s=TARGET_S), serve_s=1 / PROCESSOR, mix={"checkout": 1})
    server.run(2 * PROCESSOR, 2)

    overloaded = server.run(2 * PROCESSOR, 10)

    assert overloaded.served_per_s > 0.95 * best_goodput(2)
    assert 0.4 < overloaded.refused_of("checkout") < 0.7


@pytest.mark.parametrize("times", [1.2, 2, 3])
@pytest.mark.parametrize("target_s", [0.003, 0.005, 0.02])
def test_those_who_are_served_wait_a_few_rounds_of_the_target(times: float, target_s: float) -> None:
    server = processor_bound(target_s=target_s)
    server.run(times * PROCESSOR, 2)

    # Two rounds, the one they came in and the one of the answer, of which some are longer than the target.
    assert server.run(times * PROCESSOR, 8).percentile_s(0.99) < 6 * target_s


@pytest.mark.parametrize("times", [1.2, 2, 3])
def test_five_seconds_after_the_load_stops_nobody_is_refused(times: float) -> None:
    server = processor_bound()
    server.run(times * PROCESSOR, 5)
    server.run(0.7 * PROCESSOR, 2.5)

    recovered = server.run(0.7 * PROCESSOR, 2.5)

    assert recovered.refused_share == 0
    assert server.shedder.pressure.value == 0


def test_refusing_does_not_swing_between_everybody_and_nobody() -> None:
    server = processor_bound()
    server.run(2 * PROCESSOR, 2)
    pressures: list[float] = []

    server.run(2 * PROCESSOR, 10, each_tick=lambda: pressures.append(server.shedder.pressure.value))

    # A refusal costs 0.15 of serving, so 0.59 is what it takes at twice the capacity.
    assert min(pressures) > 0.3
    assert max(pressures) < 0.85


def test_a_burst_from_idle_is_served_whole() -> None:
    server = processor_bound()
    server.run(10, 20)

    # A tenth of a second of work.
    assert server.burst(PROCESSOR // 10).refused_share == 0
    assert server.run(0.5 * PROCESSOR, 1).refused_share < 0.05


def test_an_overload_of_the_processor_is_not_taken_for_a_slow_dependency() -> None:
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
    # None of whom waits longer than the limit lets him.
    assert overloaded.percentile_s(0.99) < 0.06


@pytest.mark.parametrize("times", [1.1, 2, 3])
def test_behind_a_slow_dependency_too_the_checkout_is_refused_last(times: float) -> None:
    server = dependency_bound()
    server.run(times * SLOW, 30)

    overloaded = server.run(times * SLOW, 60)

    assert refused(overloaded) == sorted(refused(overloaded))
    assert overloaded.refused_of("checkout") < TOLERANCE


def test_the_limit_does_not_collapse_when_a_dependency_slows_for_a_moment() -> None:
    dependency = Dependency(takes_s=0.005, places=100)
    table = Shedding(lag_target_s=TARGET_S, concurrency_least=5, concurrency_most=1_000)
    server = SimulatedServer(table, serve_s=1 / 50_000, dependency=dependency)
    server.run(5_000, 15)

    dependency.takes_s *= 50
    slowed = server.run(5_000, 2)
    dependency.takes_s /= 50
    server.run(5_000, 1)
    recovered = server.run(5_000, 5)

    # 25 are in hand in good times, 50 with what the loop may add.
    assert min(slowed.limits) > 75
    assert min(recovered.limits) > 75
    assert recovered.refused_share == 0


def test_a_dependency_that_stays_slower_is_followed() -> None:
    dependency = Dependency(takes_s=0.005)
    table = Shedding(lag_target_s=TARGET_S, concurrency_least=5, concurrency_most=1_000)
    server = SimulatedServer(table, serve_s=1 / 50_000, dependency=dependency)
    server.run(5_500, 15)

    # As much as before can be had of it, with 550 in hand instead of 30.
    dependency.takes_s = 0.1
    at_once = server.run(5_500, 5)
    server.run(5_500, 10)
    followed = server.run(5_500, 30)

    assert min(at_once.limits) < 550
    assert followed.refused_share < 0.01


def test_a_dependency_that_serves_less_than_before_is_followed_down() -> None:
    dependency = Dependency(takes_s=0.005, places=20)
    table = Shedding(lag_target_s=TARGET_S, concurrency_least=5, concurrency_most=1_000)
    server = SimulatedServer(table, serve_s=1 / 50_000, dependency=dependency)
    server.run(4_400, 30)

    dependency.takes_s = 0.05
    server.run(4_400, 25)
    followed = server.run(4_400, 30)

    assert followed.served_per_s == pytest.approx(400, rel=0.05)
    assert max(followed.limits) < 100


def test_behind_a_slow_dependency_nobody_is_refused_after_the_load_stops() -> None:
    server = dependency_bound()
    server.run(3 * SLOW, 30)
    server.run(0.5 * SLOW, 5)

    assert server.run(0.5 * SLOW, 5).refused_share < 0.001


def test_after_a_quiet_time_a_burst_finds_the_limit_open_again() -> None:
    server = dependency_bound()
    server.run(3 * SLOW, 30)
    server.run(10, 20)

    assert server.burst(300).refused_share == 0


def test_what_is_simulated_adds_up() -> None:
    server = processor_bound()

    tally = server.run(1.5 * PROCESSOR, 10)

    assert sum(tally.served) + sum(tally.refused) == pytest.approx(15 * PROCESSOR, rel=0.02)
    assert sum(SALE.values()) == 100


def test_when_refusing_alone_is_more_than_can_be_done_checkouts_still_pass() -> None:
    server = processor_bound()
    server.run(7 * PROCESSOR, 1)

    hopeless = server.run(7 * PROCESSOR, 2)

    assert hopeless.refused_of("checkout") < 0.7
    assert hopeless.refused_of("browse") == 1
