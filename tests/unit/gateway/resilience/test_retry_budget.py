from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.resilience.retry_budget import WINDOW_S, RetryBudget


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def taken(budget: RetryBudget) -> int:
    count = 0
    while budget.try_retry():
        count += 1
    return count


def test_a_quiet_upstream_has_a_few_retries_a_second() -> None:
    assert taken(RetryBudget(per_s=10, clock=Clock())) == 10 * WINDOW_S


def test_a_busy_upstream_has_a_fifth_of_its_requests_on_top() -> None:
    budget = RetryBudget(share=0.2, per_s=10, clock=Clock())
    for _ in range(1000):
        budget.count_request()
    assert taken(budget) == 200 + 10 * WINDOW_S


def test_by_default_retries_add_a_fifth_of_the_requests_and_ten_a_second() -> None:
    budget = RetryBudget(clock=Clock())
    for _ in range(1000):
        budget.count_request()
    assert budget.remaining == 200 + 10 * WINDOW_S


def test_used_retries_come_back_after_the_window() -> None:
    clock = Clock()
    budget = RetryBudget(share=0.2, per_s=1, clock=clock)
    assert taken(budget) == WINDOW_S
    clock.now += WINDOW_S - 1
    assert taken(budget) == 0
    clock.now += 1
    assert taken(budget) == WINDOW_S


def test_old_requests_give_no_retries() -> None:
    clock = Clock()
    budget = RetryBudget(share=0.5, per_s=0, clock=clock)
    for _ in range(10):
        budget.count_request()
    assert budget.remaining == 5
    clock.now += 1_000_000
    assert budget.remaining == 0


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, 30), st.integers(0, 30)), max_size=60))
def test_a_retry_is_granted_only_within_the_share_and_the_reserve_of_the_window(
    steps: list[tuple[float, int, int]],
) -> None:
    clock = Clock()
    budget = RetryBudget(share=0.2, per_s=2, clock=clock)
    requests: list[float] = []
    retries: list[float] = []
    for passed_s, asked, wanted in steps:
        clock.now += passed_s
        for _ in range(asked):
            budget.count_request()
            requests.append(clock.now)
        granted = [clock.now for _ in range(wanted) if budget.try_retry()]
        retries += granted
        # The window begins with a whole second.
        begin = int(clock.now) - WINDOW_S + 1
        recent = [sum(at >= begin for at in times) for times in (requests, retries)]
        assert not granted or recent[1] <= 0.2 * recent[0] + 2 * WINDOW_S
