from __future__ import annotations

import pytest

from gateway.proxy.health import EJECTED, HEALTHY, UNHEALTHY, TargetHealth


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
        health.failed("refused", failures_to_eject=3, eject_s=5.0)


def check(health: TargetHealth, *faults: str | None) -> None:
    for fault in faults:
        health.checked(fault, healthy_threshold=2, unhealthy_threshold=3)


def test_failures_in_a_row_eject_a_target_for_a_while(health: TargetHealth, clock: Clock) -> None:
    fail(health, 2)
    assert health.state == HEALTHY
    clock.now += 1
    fail(health, 1)
    assert (health.state, health.is_available, health.reason, health.since) == (EJECTED, False, "refused", 1001.0)
    clock.now += 5
    assert (health.state, health.is_available) == (HEALTHY, True)


def test_a_success_resets_the_count_of_failures(health: TargetHealth) -> None:
    for _ in range(10):
        fail(health, 2)
        health.succeeded()
    assert health.state == HEALTHY


def test_after_its_time_one_failure_ejects_it_again_and_one_success_resets(health: TargetHealth, clock: Clock) -> None:
    fail(health, 3)
    clock.now += 5
    fail(health, 1)
    assert health.state == EJECTED
    clock.now += 5
    health.succeeded()
    assert (health.state, health.reason) == (HEALTHY, "")
    fail(health, 2)
    assert health.state == HEALTHY


def test_failures_while_ejected_do_not_prolong_the_ejection(health: TargetHealth, clock: Clock) -> None:
    fail(health, 3)
    clock.now += 4
    fail(health, 20)
    clock.now += 1
    assert health.state == HEALTHY


def test_a_number_of_checks_in_a_row_changes_the_state(health: TargetHealth) -> None:
    check(health, "503", "503", None, "503", "503")
    assert health.state == HEALTHY
    check(health, "503")
    assert (health.state, health.reason) == (UNHEALTHY, "503")
    check(health, None, "503", None)
    assert health.state == UNHEALTHY
    check(health, None)
    assert (health.state, health.is_available) == (HEALTHY, True)


def test_a_successful_check_resets_failures(health: TargetHealth) -> None:
    fail(health, 3)
    check(health, "x", "x", "x", None, None)
    assert health.state == HEALTHY
    fail(health, 2)
    assert health.state == HEALTHY


def test_without_checks_the_unhealthy_state_ends(health: TargetHealth) -> None:
    check(health, "x", "x", "x")
    health.unchecked()
    assert health.state == HEALTHY
