import pytest
from hypothesis import given
from hypothesis import strategies as st

from cart.scheduled_prices import FORGOTTEN_MS, ScheduledPrice, holding, lowest, next_change, without_past

FIRST, SECOND = ScheduledPrice(199, 100, 200), ScheduledPrice(149, 200, 300)
PERIODS = (FIRST, SECOND)


@pytest.mark.parametrize(
    ("now", "price"), [(99, None), (100, FIRST), (199, FIRST), (200, SECOND), (299, SECOND), (300, None)]
)
def test_a_scheduled_price_holds_from_its_start_to_before_its_end(now: int, price: ScheduledPrice | None) -> None:
    assert holding(PERIODS, now) == price


def test_of_two_scheduled_prices_the_one_that_started_last_holds() -> None:
    long = ScheduledPrice(249, 0, 1000)
    assert holding((FIRST, long), 150) == holding((long, FIRST), 150) == FIRST
    assert holding((FIRST, long), 250) == long


@pytest.mark.parametrize(("now", "at"), [(0, 100), (99, 100), (100, 200), (200, 300), (299, 300), (300, None)])
def test_the_next_change_is_the_next_start_or_end(now: int, at: int | None) -> None:
    assert next_change(PERIODS, now) == at


@pytest.mark.parametrize(
    ("start", "until", "price"),
    [(0, 99, 255), (0, 100, 199), (150, 180, 199), (199, 250, 149), (299, 301, 149), (300, 400, 255)],
)
def test_the_lowest_price_of_a_time_is_that_of_some_instant_in_it(start: int, until: int, price: int) -> None:
    assert lowest(PERIODS, 255, start, until) == price


periods = st.lists(st.builds(ScheduledPrice, st.integers(0, 9), st.integers(0, 20), st.integers(0, 20)), max_size=4)


@given(periods, st.integers(0, 20), st.integers(0, 5))
def test_no_instant_has_a_lower_price_than_the_lowest_and_one_has_it(
    each: list[ScheduledPrice], start: int, length: int
) -> None:
    def price(at: int) -> int:
        found = holding(each, at)
        return 5 if found is None else found.price

    assert lowest(each, 5, start, start + length) == min(map(price, range(start, start + length + 1)))


@given(periods, st.integers(0, 20))
def test_nothing_changes_before_the_next_change(each: list[ScheduledPrice], now: int) -> None:
    change = next_change(each, now)
    assert {holding(each, at) for at in range(now, 21 if change is None else change)} == {
        holding(each, now)
    } or now > 20


def test_only_periods_that_ended_long_ago_are_forgotten() -> None:
    assert without_past(PERIODS, 299 + FORGOTTEN_MS) == (SECOND,)
    assert without_past(PERIODS, 199 + FORGOTTEN_MS) == PERIODS
