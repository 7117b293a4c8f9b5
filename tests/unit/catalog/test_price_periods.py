import pytest

from cart.catalog.price_periods import MAX_PERIODS, checked, read_instant, read_periods
from cart.scheduled_prices import ScheduledPrice
from cart.timestamps import rfc3339

START, UNTIL = 1_795_759_200_000, 1_795_845_600_000


def test_a_text_has_prices_and_their_times() -> None:
    text = " 2.49 2026-11-28T06:00Z/2026-11-29T06:00Z; 1.99 2026-11-27T07:00+01:00/2026-11-28T06:00:00.000Z ;"
    assert read_periods(text, "GBP") == (
        ScheduledPrice(199, START, UNTIL),
        ScheduledPrice(249, UNTIL, UNTIL + 86_400_000),
    )
    assert read_periods("1,99 2026-11-27T06:00Z/2026-11-28T06:00Z", "GBP", ",")[0].price == 199
    assert read_periods("  ", "GBP") == ()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("1.99", "has no form such as"),
        ("1.99 2026-11-27T06:00Z", "has no form such as"),
        ("1.999 2026-11-27T06:00Z/2026-11-28T06:00Z", "has more than the 2 decimals of GBP"),
        ("x 2026-11-27T06:00Z/2026-11-28T06:00Z", "is no price such as 2.55"),
        ("1.99 2026-11-27T06:00/2026-11-28T06:00Z", "has no time with its offset .*'2026-11-27T06:00'"),
        ("1.99 tomorrow/2026-11-28T06:00Z", "has no time with its offset .*'tomorrow'"),
        ("1.99 2026-11-28T06:00Z/2026-11-28T06:00Z", "ends before it begins: 2026-11-28T06"),
        (
            "1.99 2026-11-27T06:00Z/2026-11-28T06:00Z; 1.49 2026-11-28T05:59:59.999Z/2026-11-29T06:00Z",
            "overlap: 2026-11-27T06:00:00.000Z/2026-11-28T06:00:00.000Z and 2026-11-28T05:59:59.999Z/2026-11-29T06",
        ),
    ],
)
def test_a_fault_of_a_text_is_named(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        read_periods(text, "GBP")


def test_one_price_may_begin_when_another_ends_and_no_more_than_so_many_are_scheduled() -> None:
    periods = [ScheduledPrice(1, at, at + 1) for at in range(MAX_PERIODS)]
    assert checked(periods[::-1]) == tuple(periods)
    with pytest.raises(ValueError, match="has 51 scheduled prices, more than 50"):
        checked([*periods, ScheduledPrice(1, MAX_PERIODS, MAX_PERIODS + 1)])


def test_an_instant_is_read_to_the_millisecond() -> None:
    assert read_instant("2026-11-27T06:00:00.001Z") == START + 1
    assert read_instant(rfc3339(START)) == START
