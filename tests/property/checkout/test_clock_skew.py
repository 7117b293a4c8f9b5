"""Clocks of hosts differ: a checkout charges no more than another host has shown at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from hypothesis import given
from hypothesis import strategies as st

from cart.ids import new_cart_id
from cart.model import Cart, Line, Product, Sku, Terms
from cart.scheduled_prices import ScheduledPrice
from checkout.errors import PriceChanged, TotalMismatch
from checkout.pricing import CLOCK_SKEW_MS, Pricing, require_price_consent
from checkout.request import ExpectedTotal
from checkout.tariff.tariff import TariffInForce

MUG = Sku("85123A")
TIMES = st.integers(0, 4 * CLOCK_SKEW_MS)
PERIODS = st.lists(st.builds(ScheduledPrice, st.integers(1, 20), TIMES, TIMES), max_size=4).map(tuple)


class Book:
    """The price book of a host whose clock shows `now`."""

    is_stale = False

    def __init__(self, product: Product, now: int) -> None:
        self.current: Mapping[Sku, Product] = {MUG: product.at(now)}

    async def products(self, skus: Collection[Sku]) -> Mapping[Sku, Product]:
        return self.current


def charged(product: Product, now: int, quoted: int, expected: int | None) -> int | None:
    """The price that a host charges whose clock shows `now`; None if it refuses."""
    cart = Cart(id=new_cart_id(), currency="GBP", created_at=0, updated_at=0, lines=(Line(MUG, 1, quoted),))
    total = None if expected is None else ExpectedTotal(expected, "GBP")
    pricing = Pricing(Book(product, now), TariffInForce(None), clock_ms=lambda: now)
    priced = asyncio.run(pricing.price(cart, method="standard", country="GB", expected=total))
    try:
        require_price_consent(cart, priced, expected=total)
    except (PriceChanged, TotalMismatch):
        return None
    return priced.lines[0].unit_price


@given(PERIODS, TIMES, st.integers(-CLOCK_SKEW_MS, CLOCK_SKEW_MS), st.booleans(), st.integers(1, 20))
def test_no_more_is_charged_than_a_host_has_shown_whose_clock_is_another(
    periods: tuple[ScheduledPrice, ...], now: int, skew: int, is_expected: bool, quoted: int
) -> None:
    product = Product(MUG, "a mug", 15, "GBP", terms=Terms(scheduled_prices=periods))
    shown = product.at(now + skew).price
    price = charged(product, now, quoted, shown if is_expected else None)
    assert price is None or price <= shown
    if is_expected:
        assert price in {None, shown}


@given(PERIODS, TIMES)
def test_a_shopper_who_expects_the_price_of_the_host_is_never_refused(
    periods: tuple[ScheduledPrice, ...], now: int
) -> None:
    product = Product(MUG, "a mug", 15, "GBP", terms=Terms(scheduled_prices=periods))
    shown = product.at(now).price
    assert charged(product, now, 1, shown) == shown
