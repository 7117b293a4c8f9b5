"""The arithmetic of a breaker."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.resilience.breaker_model import Counts
from gateway.resilience.breaker_window import RollingWindow, ramp_share, trip_reason


def test_a_window_counts_calls_failures_and_slow_calls() -> None:
    window = RollingWindow(10.0)
    window.add(100.0, calls=5, failures=2, slow=1)
    window.add(104.0)
    assert window.counts(104.0) == Counts(6, 2, 1)


def test_a_window_forgets_older_calls() -> None:
    window = RollingWindow(10.0)
    window.add(100.0, failures=1)
    window.add(106.0, slow=1)
    assert window.counts(111.0) == Counts(1, 0, 1)
    assert window.counts(1000.0) == Counts(0, 0, 0)


def test_a_cleared_window_counts_nothing() -> None:
    window = RollingWindow(10.0)
    window.add(100.0, failures=1)
    window.clear()
    assert window.counts(100.0) == Counts(0, 0, 0)


@given(st.lists(st.tuples(st.floats(0, 3), st.booleans(), st.booleans()), max_size=60))
def test_a_window_never_differs_from_a_list_of_calls_by_more_than_a_slice(
    steps: list[tuple[float, bool, bool]],
) -> None:
    window, now, calls = RollingWindow(10.0), 50.0, []
    for later, failed, slow in steps:
        now += later
        window.add(now, failures=int(failed), slow=int(slow))
        calls.append((now, failed, slow))
        counted = window.counts(now)
        certain, possible = tallied(calls, since=now - 9.0 + 1e-6), tallied(calls, since=now - 10.0 - 1e-6)
        assert all(
            at_least <= count <= at_most for at_least, count, at_most in zip(certain, counted, possible, strict=True)
        )


def tallied(calls: list[tuple[float, bool, bool]], *, since: float) -> Counts:
    recent = [call for call in calls if call[0] >= since]
    return Counts(len(recent), sum(call[1] for call in recent), sum(call[2] for call in recent))


RULES = {"min_calls": 20, "failure_rate": 0.5, "slow_call_rate": 0.8}


@pytest.mark.parametrize("counts", [Counts(19, 19, 0), Counts(20, 9, 0), Counts(20, 0, 15), Counts(20, 0, 0)])
def test_too_few_calls_or_too_few_bad_ones_do_not_trip(counts: Counts) -> None:
    assert trip_reason(counts, **RULES) is None  # type: ignore[arg-type]


def test_the_reason_to_trip_gives_the_counts() -> None:
    assert trip_reason(Counts(20, 10, 0), **RULES) == "10 of 20 calls failed"  # type: ignore[arg-type]
    assert trip_reason(Counts(20, 0, 16), **RULES) == "16 of 20 calls were slow"  # type: ignore[arg-type]


def test_a_rate_of_nought_does_not_trip_without_a_failure() -> None:
    assert trip_reason(Counts(50, 0, 0), min_calls=1, failure_rate=0.0, slow_call_rate=0.0) is None


@given(st.floats(0, 20), st.floats(0, 20), st.floats(0, 10))
def test_a_ramp_never_falls_and_ends_at_all(sooner: float, later: float, ramp_s: float) -> None:
    sooner, later = sorted((sooner, later))
    assert 0.0 < ramp_share(sooner, ramp_s) <= ramp_share(later, ramp_s) <= 1.0
    assert ramp_share(ramp_s, ramp_s) == 1.0
