"""Clocks of hosts differ: a checkout charges no more than another host has shown at the same time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import product as combinations

import pytest

from cart.ids import new_cart_id
from cart.model import Cart, Line, Product, Sku, Terms
from cart.scheduled_prices import ScheduledPrice
from checkout.errors import PriceChanged, TotalMismatch
from checkout.pricing import CLOCK_SKEW_MS, Pricing, require_price_consent
from checkout.request import ExpectedTotal
from checkout.tariff.tariff import TariffInForce

MUG = Sku("85123A")
QUARTER_MS = CLOCK_SKEW_MS // 4
# A price lower than the ordinary one of 15, a higher one, and two that meet.
PERIODS = (
    ((8, 16, 10),),
    ((8, 16, 20),),
    ((8, 12, 10), (12, 16, 12)),
)


class Book:
    """The price book of a host whose clock shows `now`."""

    is_stale = False

    def __init__(self, product: Product, now: int) -> None:
        self.current: Mapping[Sku, Product] = {MUG: product.at(now)}

    async def products(self, skus: Collection[Sku]) -> Mapping[Sku, Product]:
        return self.current


async def charged(product: Product, now: int, quoted: int, expected: int | None) -> int | None:
    """The price that a host charges whose clock shows `now`; None if it refuses."""
    cart = Cart(id=new_cart_id(), currency="GBP", created_at=0, updated_at=0, lines=(Line(MUG, 1, quoted),))
    total = None if expected is None else ExpectedTotal(expected, "GBP")
    pricing = Pricing(Book(product, now), TariffInForce(None), clock_ms=lambda: now)
    priced = await pricing.price(cart, method="standard", country="GB", expected=total)
    try:
        require_price_consent(cart, priced, expected=total)
    except (PriceChanged, TotalMismatch):
        return None
    return priced.lines[0].unit_price


@pytest.fixture(params=PERIODS, ids=str)
def product(request: pytest.FixtureRequest) -> Product:
    periods = tuple(
        ScheduledPrice(price, start * QUARTER_MS, until * QUARTER_MS) for start, until, price in request.param
    )
    return Product(MUG, "a mug", 15, "GBP", terms=Terms(scheduled_prices=periods))


def instants() -> Iterator[tuple[int, int]]:
    """The instants of two clocks that differ by no more than is made good for."""
    for now, skew in combinations(range(2, 23), range(-4, 5)):
        yield now * QUARTER_MS, (now + skew) * QUARTER_MS


async def test_no_more_is_charged_than_a_host_has_shown_whose_clock_is_another(product: Product) -> None:
    for now, other in instants():
        shown = product.at(other).price
        # A line that was written at any of the prices.
        for quoted in (10, 12, 15, 20):
            price = await charged(product, now, quoted, None)
            assert price is None or price <= shown, (now, other, quoted)
            assert await charged(product, now, quoted, shown) in {None, shown}


async def test_a_shopper_who_expects_the_price_of_the_host_is_never_refused(product: Product) -> None:
    for now, _ in instants():
        shown = product.at(now).price
        assert await charged(product, now, 1, shown) == shown
