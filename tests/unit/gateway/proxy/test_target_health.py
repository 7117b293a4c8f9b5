from __future__ import annotations

import pytest

from gateway.proxy.health import EJECTED, IN, UNHEALTHY, TargetHealth


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> TargetHealth:
    return TargetHealth(clock=clock, now=clock)


def fail(health: TargetHealth, times: int) -> None:
    for _ in range(times):
        health.failed("refused", most=3, eject_s=5.0)


def check(health: TargetHealth, *faults: str | None) -> None:
    for fault in faults:
        health.checked(fault, healthy_after=2, unhealthy_after=3)


def test_failures_in_a_row_eject_a_target_for_a_while(health: TargetHealth, clock: Clock) -> None:
    fail(health, 2)
    assert health.state == IN
    clock.now += 1
    fail(health, 1)
    assert (health.state, health.is_in, health.reason, health.since) == (EJECTED, False, "refused", 1001.0)
    clock.now += 5
    assert (health.state, health.is_in) == (IN, True)


def test_a_success_in_between_counts_as_a_new_beginning(health: TargetHealth) -> None:
    for _ in range(10):
        fail(health, 2)
        health.succeeded()
    assert health.state == IN


def test_after_its_time_one_failure_ejects_it_again_and_one_success_makes_good(
    health: TargetHealth, clock: Clock
) -> None:
    fail(health, 3)
    clock.now += 5
    fail(health, 1)
    assert health.state == EJECTED
    clock.now += 5
    health.succeeded()
    assert (health.state, health.reason) == (IN, "")
    fail(health, 2)
    assert health.state == IN


def test_what_failed_while_it_was_out_does_not_keep_it_out(health: TargetHealth, clock: Clock) -> None:
    fail(health, 3)
    clock.now += 4
    fail(health, 20)
    clock.now += 1
    assert health.state == IN


def test_checks_take_a_target_out_and_back_in_after_so_many_in_a_row(health: TargetHealth) -> None:
    check(health, "503", "503", None, "503", "503")
    assert health.state == IN
    check(health, "503")
    assert (health.state, health.reason) == (UNHEALTHY, "503")
    check(health, None, "503", None)
    assert health.state == UNHEALTHY
    check(health, None)
    assert (health.state, health.is_in) == (IN, True)


def test_a_target_that_checks_find_well_starts_afresh(health: TargetHealth) -> None:
    fail(health, 3)
    check(health, "x", "x", "x", None, None)
    assert health.state == IN
    fail(health, 2)
    assert health.state == IN


def test_without_checks_their_word_is_forgotten(health: TargetHealth) -> None:
    check(health, "x", "x", "x")
    health.unchecked()
    assert health.state == IN
