"""Amounts add up exactly, whatever the prices, the coupon and the taxes."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from cart.coupons import WHOLE, Coupon, Goods
from primitives.rounding import half_even

PRICES = st.lists(st.integers(0, 10**7), min_size=1, max_size=20)


def goods(prices: list[int]) -> list[Goods]:
    return [Goods(str(number), price) for number, price in enumerate(prices)]


@given(PRICES, st.integers(1, 10**8))
def test_the_shares_of_an_amount_are_the_amount_or_all_that_the_goods_cost(prices: list[int], amount: int) -> None:
    shares = Coupon(amount=amount, currency="GBP").reductions(goods(prices))
    assert sum(shares) == min(amount, sum(prices))
    assert all(0 <= share <= price for share, price in zip(shares, prices, strict=True))
    whole = sum(prices)
    for share, price in zip(shares, prices, strict=True):
        exact = Fraction(min(amount, whole) * price, whole or 1)
        assert abs(share - exact) < 1


@given(PRICES, st.integers(1, WHOLE))
def test_a_percentage_of_a_line_is_never_more_than_the_line(prices: list[int], percent: int) -> None:
    for share, price in zip(Coupon(percent=percent).reductions(goods(prices)), prices, strict=True):
        assert 0 <= share <= price
        assert share == round(Fraction(price * percent, WHOLE))


@given(st.integers(-(10**12), 10**12), st.integers(1, 10**7))
def test_halves_are_rounded_to_the_even_number(dividend: int, divisor: int) -> None:
    assert half_even(dividend, divisor) == round(Fraction(dividend, divisor))
