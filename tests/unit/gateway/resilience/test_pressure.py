"""The controller of load shedding, one observation at a time."""

from __future__ import annotations

import pytest

from gateway.resilience.pressure import MAX_AT_ONCE_OFF, MAX_INTEGRAL_OFF, MAX_SHED, MAX_STEP_S, MIX_S, Pressure

TARGET_S = 0.01


def pressed(pressure: Pressure, arrived: list[int], *, times: int, lag_s: float = 0.05, elapsed_s: float = 0.1) -> None:
    for _ in range(times):
        pressure.observe(lag_s, lag_s, elapsed_s, arrived)


def test_nothing_is_shed_before_the_first_observation() -> None:
    assert Pressure(3, target_s=TARGET_S).shares == [0.0, 0.0, 0.0]


def test_arrivals_of_the_past_do_not_hide_those_of_now() -> None:
    pressure = Pressure(3, target_s=TARGET_S)
    pressed(pressure, [0, 0, 1000], times=50, lag_s=TARGET_S)
    pressed(pressure, [0, 10, 0], times=120)
    # Only the second criticality arrives, so it bears all of the pressure.
    assert pressure.value == pytest.approx(MAX_SHED)
    assert pressure.shares[1] == pytest.approx(MAX_SHED, abs=0.01)


def test_an_arrival_counts_for_about_a_second() -> None:
    pressure = Pressure(2, target_s=TARGET_S)
    pressure.observe(TARGET_S, TARGET_S, 0.1, [0, 100])
    pressure.observe(TARGET_S, TARGET_S, MIX_S / 2, [50, 0])
    pressed(pressure, [0, 0], times=1, elapsed_s=0.0)
    pressed(pressure, [0, 0], times=1, elapsed_s=0.0)
    # Half of the 100 are forgotten: both kinds are equally many.
    assert pressure.shares[1] == pytest.approx(2 * pressure.value)


def test_a_lag_at_the_target_changes_nothing() -> None:
    pressure = Pressure(1, target_s=TARGET_S)
    pressed(pressure, [10], times=100, lag_s=TARGET_S)
    assert pressure.value == 0.0


def test_the_share_rises_by_the_lag_over_the_target_and_the_time() -> None:
    pressure = Pressure(2, target_s=TARGET_S)
    pressure.observe(2 * TARGET_S, 2 * TARGET_S, 0.1, [0, 10])
    # One target off for 0.1 s: 0.06 of the integral part, and 0.15 at once.
    assert pressure.value == pytest.approx(0.06 + 0.15)


def test_a_long_calm_does_not_delay_the_next_rise() -> None:
    pressure = Pressure(2, target_s=TARGET_S)
    pressed(pressure, [0, 10], times=100, lag_s=0.0)
    pressed(pressure, [0, 10], times=1, lag_s=2 * TARGET_S)
    assert pressure.value == pytest.approx(0.06 + 0.15)


def test_the_share_falls_faster_than_it_rises() -> None:
    pressure = Pressure(2, target_s=TARGET_S)
    pressed(pressure, [0, 10], times=5, lag_s=2 * TARGET_S)
    pressure.observe(TARGET_S, TARGET_S, 0.0, [0, 10])
    before = pressure.value
    pressure.observe(TARGET_S / 2, TARGET_S / 2, 0.1, [0, 10])
    # Half a target off for 0.1 s: 0.075 of the integral part, and 0.075 at once.
    assert pressure.value == pytest.approx(before - 0.15)


def test_a_very_high_lag_and_a_long_gap_move_the_share_no_further_than_their_maximum() -> None:
    usual, extreme = (Pressure(2, target_s=TARGET_S) for _ in range(2))
    high_s = TARGET_S * (1 + max(MAX_INTEGRAL_OFF, MAX_AT_ONCE_OFF))
    usual.observe(high_s, high_s, MAX_STEP_S, [0, 10])
    extreme.observe(1000.0, 1000.0, 60.0, [0, 10])
    assert usual.value == pytest.approx(MAX_SHED)
    assert extreme.value == usual.value
    usual.observe(TARGET_S, TARGET_S, 0.0, [0, 10])
    extreme.observe(TARGET_S, TARGET_S, 0.0, [0, 10])
    # The integral part alone: three targets for 0.1 s.
    assert (usual.value, extreme.value) == pytest.approx((0.18, 0.18))


def test_the_part_that_acts_at_once_sheds_none_of_the_most_critical() -> None:
    pressure = Pressure(2, target_s=TARGET_S)
    pressure.observe(0.09, 0.09, 0.0, [60, 40])
    assert pressure.value == pytest.approx(0.4)
    assert pressure.shares == [0.0, 1.0]


def test_the_lower_of_two_lags_in_a_row_counts() -> None:
    pressure = Pressure(2, target_s=TARGET_S)
    pressure.observe(0.0, 0.05, 0.1, [0, 10])
    assert pressure.value == 0.0
    pressure.observe(0.0, 0.05, 0.1, [0, 10])
    assert pressure.value > 0.0


def test_a_reset_forgets_the_lag_and_sheds_nothing() -> None:
    pressure = Pressure(2, target_s=TARGET_S, rng=lambda: 0.0)
    pressed(pressure, [5, 5], times=20)
    assert pressure.sheds(1)
    pressure.reset()
    assert (pressure.value, pressure.shares) == (0.0, [0.0, 0.0])
    assert not pressure.sheds(1)
    pressure.observe(0.0, 0.05, 0.1, [0, 10])
    assert pressure.value == 0.0


def test_a_share_is_shed_by_chance() -> None:
    chance = 0.5
    pressure = Pressure(2, target_s=TARGET_S, rng=lambda: chance)
    pressure.shares = [0.0, 0.5]
    assert not pressure.sheds(1)
    chance = 0.49
    assert pressure.sheds(1)
    chance = 0.0
    assert not pressure.sheds(0)


def test_a_criticality_without_arrivals_is_shed_with_the_next_less_critical_one() -> None:
    pressure = Pressure(3, target_s=TARGET_S)
    pressed(pressure, [10, 0, 1], times=20)
    assert pressure.shares[2] == 1.0
    assert pressure.shares[1] == 1.0
    assert 0.0 < pressure.shares[0] < 1.0
