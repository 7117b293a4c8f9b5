import pytest

from cart.ids import new_cart_id
from cart.model import Cart, Line, Money, Product, Sku, Terms
from cart.scheduled_prices import ScheduledPrice
from checkout.errors import ChangedPrice, PriceChanged, TotalMismatch
from checkout.pricing import CLOCK_SKEW_MS, order_lines, require_price_consent
from checkout.request import ExpectedTotal

MUG = Sku("85123A")
START, UNTIL = 1_000_000, 2_000_000
PRODUCT = Product(MUG, "a mug", 255, "GBP", terms=Terms(scheduled_prices=(ScheduledPrice(199, START, UNTIL),)))


def charged(at: int, *, quoted: int, expected: int | None = None) -> int:
    """The unit price of a checkout at that instant, of a line whose price was quoted. Raises the refusals."""
    now = at
    cart = Cart(id=new_cart_id(), currency="GBP", created_at=0, updated_at=0, lines=(Line(MUG, 2, quoted),))
    total = None if expected is None else ExpectedTotal(2 * expected + 10, "GBP")
    lines = order_lines(cart, {MUG: PRODUCT.at(now)}, now, shipping=10, expected=total)
    require_price_consent(cart, lines, shipping=10, expected=total)
    return lines[0].unit_price


@pytest.mark.parametrize(
    ("at", "price"),
    [
        (START - CLOCK_SKEW_MS - 1, 255),
        (START, 199),
        (UNTIL - 1, 199),
        (UNTIL + CLOCK_SKEW_MS, 255),
    ],
)
def test_the_price_is_that_of_the_instant_of_the_checkout(at: int, price: int) -> None:
    assert charged(at, quoted=price) == charged(at, quoted=1, expected=price) == price


@pytest.mark.parametrize("at", [START - CLOCK_SKEW_MS, START - 1, UNTIL, UNTIL + CLOCK_SKEW_MS - 1])
def test_a_shopper_whom_another_clock_has_shown_the_lower_price_pays_that(at: int) -> None:
    assert charged(at, quoted=199) == charged(at, quoted=255, expected=199) == 199


@pytest.mark.parametrize("at", [START - CLOCK_SKEW_MS, UNTIL])
def test_a_shopper_who_expects_the_price_of_this_clock_pays_that(at: int) -> None:
    assert charged(at, quoted=199, expected=255) == 255


def test_within_the_skew_no_more_is_charged_than_any_clock_shows() -> None:
    with pytest.raises(PriceChanged) as refused:
        charged(UNTIL, quoted=255)
    assert refused.value.lines == [ChangedPrice(MUG, was=Money(255, "GBP"), now=Money(199, "GBP"))]
    assert refused.value.total == Money(408, "GBP")


def test_a_price_that_has_ended_is_charged_only_with_consent() -> None:
    after = UNTIL + CLOCK_SKEW_MS
    for expected in (None, 199):
        with pytest.raises(PriceChanged) as refused:
            charged(after, quoted=199, expected=expected)
        assert refused.value.lines == [ChangedPrice(MUG, was=Money(199, "GBP"), now=Money(255, "GBP"))]
    with pytest.raises(TotalMismatch):
        charged(after, quoted=255, expected=199)
    assert charged(after, quoted=199, expected=255) == 255
