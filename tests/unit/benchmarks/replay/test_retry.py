from random import Random

import pytest

from benchmarks.replay.retry import FIRST_DELAY_S, MAX_DELAY_S, GaveUp, RetryPolicy


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def retry(clock: Clock) -> RetryPolicy:
    return RetryPolicy(give_up_s=120, clock=clock, chance=Random(1))


def test_delays_double_up_to_the_maximum_and_half_of_each_is_random(retry: RetryPolicy) -> None:
    delays = [retry.delay_before(attempt) for attempt in range(1, 30)]

    for attempt, delay_s in enumerate(delays, start=1):
        longest_s = min(MAX_DELAY_S, FIRST_DELAY_S * 2 ** (attempt - 1))
        assert longest_s / 2 <= delay_s <= longest_s
    assert len(set(delays)) == len(delays)


def test_a_delay_is_never_shorter_than_the_retry_after_of_the_server(retry: RetryPolicy) -> None:
    assert all(5 <= retry.delay_before(1, min_delay_s=5) <= 6.25 for _ in range(100))


def test_a_delay_past_the_time_without_progress_gives_up(retry: RetryPolicy, clock: Clock) -> None:
    clock.now_s += 119
    retry.delay_before(1)
    with pytest.raises(GaveUp, match="gave up after 120 s without progress"):
        retry.delay_before(1, min_delay_s=2)


def test_progress_starts_the_time_again(retry: RetryPolicy, clock: Clock) -> None:
    clock.now_s += 119
    retry.progressed()
    clock.now_s += 100
    assert retry.allow(19) == 19
