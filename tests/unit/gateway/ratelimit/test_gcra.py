from __future__ import annotations

import pytest

from gateway.ratelimit.gcra import Bucket, Taken, admit, rate_of

SECOND = 1_000_000


def test_a_burst_is_granted_at_once_and_no_more() -> None:
    bucket = Bucket(rate_of(50, 60.0))
    assert [bucket.take(0).granted for _ in range(60)] == [1] * 50 + [0] * 10


@pytest.mark.parametrize("quota", [3, 7, 49, 333])
def test_a_burst_is_exact_where_the_interval_is_no_whole_number(quota: int) -> None:
    bucket = Bucket(rate_of(quota, 1.0))
    assert sum(bucket.take(17).granted for _ in range(quota + 5)) == quota


def test_the_first_of_several_units_are_granted() -> None:
    bucket = Bucket(rate_of(5, 1.0))
    assert bucket.take(0, 3) == Taken(granted=3, left=2, wait_us=200_000)
    assert bucket.take(0, 3) == Taken(granted=2, left=0, wait_us=200_000)
    assert bucket.take(0, 3) == Taken(granted=0, left=0, wait_us=200_000)


def test_a_unit_comes_back_each_interval() -> None:
    bucket = Bucket(rate_of(4, 1.0))
    bucket.take(0, 4)
    assert bucket.take(249_999) == Taken(granted=0, left=0, wait_us=1)
    assert bucket.take(250_000) == Taken(granted=1, left=0, wait_us=250_000)


def test_after_the_returned_wait_there_is_a_unit() -> None:
    bucket = Bucket(rate_of(7, 1.0))
    now_us = 0
    for _ in range(1_000):
        taken = bucket.take(now_us)
        assert taken.granted
        now_us += taken.wait_us if not taken.left else 0


def test_a_rest_saves_up_one_burst() -> None:
    bucket = Bucket(rate_of(10, 1.0, burst=3))
    bucket.take(0, 3)
    assert bucket.take(3_600 * SECOND, 0) == Taken(granted=0, left=3, wait_us=0)


def test_a_clock_that_runs_back_takes_and_gives_nothing() -> None:
    bucket = Bucket(rate_of(2, 1.0))
    bucket.take(10 * SECOND, 2)
    assert bucket.left(9 * SECOND) == 0


def test_a_share_is_of_quota_and_burst_and_never_less_than_one_unit() -> None:
    assert rate_of(50, 1.0, 100, share=0.25) == rate_of(50, 4.0, 25)
    assert rate_of(2, 60.0, share=0.125) == rate_of(1, 60.0)


def test_a_rejection_by_one_limit_takes_nothing_from_the_others() -> None:
    wide, narrow = Bucket(rate_of(10, 60.0)), Bucket(rate_of(1, 60.0))
    assert admit([wide, narrow], 0) == []
    assert admit([wide, narrow], 0) == [narrow]
    assert wide.left(0) == 9


def test_a_shadow_limit_rejects_no_request() -> None:
    real, shadow = Bucket(rate_of(10, 60.0)), Bucket(rate_of(1, 60.0), shadow=True)
    assert [admit([real, shadow], 0) for _ in range(3)] == [[], [shadow], [shadow]]
    assert real.left(0) == 7
