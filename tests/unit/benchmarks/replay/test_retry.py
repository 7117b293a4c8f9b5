from random import Random

import pytest

from benchmarks.replay.retry import FIRST_WAIT_S, LONGEST_WAIT_S, GaveUp, Patience


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def patience(clock: Clock) -> Patience:
    return Patience(give_up_s=120, clock=clock, chance=Random(1))


def test_waits_double_up_to_the_longest_with_half_of_each_left_to_chance(patience: Patience) -> None:
    waits = [patience.wait_before(attempt) for attempt in range(1, 30)]

    for attempt, wait_s in enumerate(waits, start=1):
        full_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (attempt - 1))
        assert full_s / 2 <= wait_s <= full_s
    assert len(set(waits)) == len(waits)


def test_the_servers_retry_after_is_never_undercut(patience: Patience) -> None:
    assert all(5 <= patience.wait_before(1, at_least_s=5) <= 6.25 for _ in range(100))


def test_a_wait_beyond_the_patience_is_given_up(patience: Patience, clock: Clock) -> None:
    clock.now_s += 119
    patience.wait_before(1)
    with pytest.raises(GaveUp, match="gave up after 120 s without progress"):
        patience.wait_before(1, at_least_s=2)


def test_progress_renews_the_patience(patience: Patience, clock: Clock) -> None:
    clock.now_s += 119
    patience.moved()
    clock.now_s += 100
    assert patience.allow(19) == 19
