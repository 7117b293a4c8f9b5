from __future__ import annotations

import pytest

from primitives.backoff import Backoff


def test_the_delay_doubles_up_to_its_maximum() -> None:
    backoff = Backoff(0.1, 1.0, chance=lambda: 1.0)
    assert [backoff.next_delay_s() for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_up_to_half_of_a_delay_is_left_out() -> None:
    assert Backoff(2.0, 10.0, chance=lambda: 0.0).delay_s(1) == 1.0
    assert Backoff(2.0, 10.0, chance=lambda: 0.5).delay_s(1) == 1.5


def test_after_a_success_the_first_delay_comes_again() -> None:
    backoff = Backoff(0.1, 1.0, chance=lambda: 1.0)
    backoff.next_delay_s()
    backoff.next_delay_s()
    backoff.reset()
    assert backoff.failures == 0
    assert backoff.next_delay_s() == 0.1


def test_another_factor() -> None:
    assert Backoff(1.0, 100.0, factor=4.0, chance=lambda: 1.0).delay_s(3) == 16.0


@pytest.mark.parametrize("failures", [65, 10_000, 10**9])
def test_any_number_of_failures_has_a_delay(failures: int) -> None:
    assert Backoff(0.1, 5.0, factor=4.0, chance=lambda: 1.0).delay_s(failures) == 5.0
