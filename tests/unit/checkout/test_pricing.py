from collections.abc import Collection, Mapping
from typing import Any

import pytest

from cart.coupons import MARK, NO_CURRENCY, WHOLE, Coupon, CouponFault
from cart.errors import CouponRefused
from cart.ids import new_cart_id
from cart.model import Cart, Line, Money, Product, Sku, Terms
from cart.scheduled_prices import ScheduledPrice
from checkout.amounts import Discount, OrderLine, ShippingTax
from checkout.errors import CartEmpty, ChangedPrice, PriceChanged, ShippingNotOffered, TotalMismatch
from checkout.priced_cart import PricedCart, RefusedCoupon
from checkout.pricing import CLOCK_SKEW_MS, Pricing, require_price_consent
from checkout.request import ExpectedTotal
from checkout.tariff.shipping_methods import ShippingMethod, ShippingOption, ShippingRate
from checkout.tariff.tariff import Tariff, TariffInForce
from checkout.tariff.tax_tables import ExclusiveTaxes, InclusiveTaxes

MUG, BOOK, SOFA = Sku("85123A"), Sku("BOOK"), Sku("SOFA")
CODE, COUPON = "TENOFF", Sku(MARK + "TENOFF")
START, UNTIL = 1_000_000, 2_000_000
PRODUCT = Product(MUG, "a mug", 255, "GBP", terms=Terms(scheduled_prices=(ScheduledPrice(199, START, UNTIL),)))


class Book:
    """A price book of these products."""

    is_stale = False

    def __init__(self, *products: Product) -> None:
        self.current: Mapping[Sku, Product] = {product.sku: product for product in products}

    async def products(self, skus: Collection[Sku]) -> Mapping[Sku, Product]:
        return self.current


def a_cart(*lines: Line) -> Cart:
    return Cart(id=new_cart_id(), currency="GBP", created_at=0, updated_at=0, lines=lines)


async def priced(
    cart: Cart, *products: Product, tariff: Tariff | None = None, now: int = 0, country: str = "GB", **more: Any
) -> PricedCart:
    pricing = Pricing(Book(*products), TariffInForce(tariff), clock_ms=lambda: now)
    return await pricing.price(cart, method=more.pop("method", "standard"), country=country, **more)


async def charged(at: int, *, quoted: int, expected: int | None = None) -> int:
    """The unit price of a checkout at that instant, of a line whose price was quoted. Raises the refusals."""
    cart = a_cart(Line(MUG, 2, quoted))
    total = None if expected is None else ExpectedTotal(2 * expected + 10, "GBP")
    shipping = Tariff([ShippingMethod("standard", "Standard", [ShippingRate(price=10)])])
    found = await priced(cart, PRODUCT.at(at), tariff=shipping, now=at, expected=total)
    require_price_consent(cart, found, expected=total)
    return found.lines[0].unit_price


@pytest.mark.parametrize(
    ("at", "price"),
    [
        (START - CLOCK_SKEW_MS - 1, 255),
        (START, 199),
        (UNTIL - 1, 199),
        (UNTIL + CLOCK_SKEW_MS, 255),
    ],
)
async def test_the_price_is_that_of_the_instant_of_the_checkout(at: int, price: int) -> None:
    assert await charged(at, quoted=price) == await charged(at, quoted=1, expected=price) == price


@pytest.mark.parametrize("at", [START - CLOCK_SKEW_MS, START - 1, UNTIL, UNTIL + CLOCK_SKEW_MS - 1])
async def test_a_shopper_whom_another_clock_has_shown_the_lower_price_pays_that(at: int) -> None:
    assert await charged(at, quoted=199) == await charged(at, quoted=255, expected=199) == 199


@pytest.mark.parametrize("at", [START - CLOCK_SKEW_MS, UNTIL])
async def test_a_shopper_who_expects_the_price_of_this_clock_pays_that(at: int) -> None:
    assert await charged(at, quoted=199, expected=255) == 255


async def test_within_the_skew_no_more_is_charged_than_any_clock_shows() -> None:
    with pytest.raises(PriceChanged) as refused:
        await charged(UNTIL, quoted=255)
    assert refused.value.lines == [ChangedPrice(MUG, was=Money(255, "GBP"), now=Money(199, "GBP"))]
    assert refused.value.total == Money(408, "GBP")


async def test_a_price_that_has_ended_is_charged_only_with_consent() -> None:
    after = UNTIL + CLOCK_SKEW_MS
    for expected in (None, 199):
        with pytest.raises(PriceChanged) as refused:
            await charged(after, quoted=199, expected=expected)
        assert refused.value.lines == [ChangedPrice(MUG, was=Money(199, "GBP"), now=Money(255, "GBP"))]
    with pytest.raises(TotalMismatch):
        await charged(after, quoted=255, expected=199)
    assert await charged(after, quoted=199, expected=255) == 255


async def test_within_the_skew_no_lower_price_makes_the_total_higher() -> None:
    """By the lower price of a start, the coupon would miss its minimum."""
    half = coupon(percent=WHOLE // 2, currency="GBP", minimum=500)
    cart = with_coupon(Line(MUG, 2, 255))
    found = await priced(cart, PRODUCT.at(START - 1), half, now=START - 1)
    assert (found.lines[0].unit_price, found.amounts.total) == (255, 255)


GOODS = (
    Product(MUG, "a mug", 255, "GBP"),
    Product(BOOK, "a book", 1000, "GBP", terms=Terms(tax_class="books", weight_class="letter")),
    Product(SOFA, "a sofa", 50_000, "GBP", terms=Terms(weight_class="bulky")),
)
RATES = {("GB", "standard"): 200_000, ("DE", "standard"): 190_000, ("DE", "books"): 70_000}
BY_WEIGHT = Tariff(
    [
        ShippingMethod(
            "standard",
            "Standard",
            [
                ShippingRate(price=0, countries=frozenset({"GB"}), weight_class=1, from_subtotal=5000, currency="GBP"),
                ShippingRate(price=395, countries=frozenset({"GB"}), weight_class=1),
                ShippingRate(price=1295, weight_class=1),
            ],
        ),
        ShippingMethod("van", "By van", [ShippingRate(price=4900, countries=frozenset({"GB"}))]),
    ],
    weight_classes=("letter", "parcel", "bulky"),
)


def coupon(**rule: Any) -> Product:
    return Product(COUPON, "ten off", 0, NO_CURRENCY, terms=Terms(coupon=Coupon(**rule)))


def with_coupon(*lines: Line) -> Cart:
    return a_cart(*lines, Line(COUPON, 1, 0))


async def test_a_percentage_is_taken_off_each_line_rounded_half_to_even() -> None:
    cart = with_coupon(Line(MUG, 1, 255), Line(BOOK, 1, 1000))
    found = await priced(cart, *GOODS, coupon(percent=1000))
    assert [line.discount for line in found.lines] == [26, 100]  # 25.5 is halfway, and 26 even
    assert found.discounts == (Discount(CODE, "ten off", goods=126),)
    assert (found.amounts.subtotal, found.amounts.total) == (1255, 1129)


async def test_an_amount_is_shared_by_the_lines_to_the_last_penny() -> None:
    cart = with_coupon(Line(MUG, 1, 255), Line(BOOK, 2, 1000))
    found = await priced(cart, *GOODS, coupon(amount=1000, currency="GBP"))
    assert [line.discount for line in found.lines] == [113, 887]
    assert found.amounts.total == 1255


async def test_a_coupon_takes_off_no_more_than_its_goods_cost() -> None:
    cart = with_coupon(Line(MUG, 1, 255), Line(BOOK, 2, 1000))
    found = await priced(cart, *GOODS, coupon(amount=1000, currency="GBP", skus=(MUG,)))
    assert [line.discount for line in found.lines] == [255, 0]
    assert found.amounts.total == 2000


async def test_free_shipping_is_a_discount_of_the_price_of_the_method() -> None:
    cart = with_coupon(Line(MUG, 1, 255))
    found = await priced(cart, *GOODS, coupon(free_shipping=True), tariff=BY_WEIGHT, country="FR")
    assert (found.shipping, found.discounts) == (1295, (Discount(CODE, "ten off", shipping=1295),))
    assert found.amounts.total == 255


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        ({"starts_at": 1001}, CouponFault.NOT_STARTED),
        ({"ends_at": 1000}, CouponFault.ENDED),
        ({"currency": "EUR"}, CouponFault.OTHER_CURRENCY),
        ({"currency": "GBP", "minimum": 256}, CouponFault.BELOW_MINIMUM),
        ({"skus": (BOOK,)}, CouponFault.NO_SUCH_GOODS),
    ],
)
async def test_a_coupon_that_does_not_count_takes_off_nothing_and_is_refused_without_consent(
    rule: dict[str, Any], fault: CouponFault
) -> None:
    cart = with_coupon(Line(MUG, 1, 255))
    found = await priced(cart, *GOODS, coupon(percent=1000, **rule), now=1000)
    assert (found.discounts, found.refused_coupon) == ((), RefusedCoupon(CODE, fault))
    with pytest.raises(CouponRefused) as refused:
        require_price_consent(cart, found, expected=None)
    assert (refused.value.code, refused.value.fault, refused.value.total) == (CODE, fault, Money(255, "GBP"))
    require_price_consent(cart, found, expected=ExpectedTotal(255, "GBP"))


@pytest.mark.parametrize(
    "rule", [{"starts_at": 1000}, {"ends_at": 1001}, {"currency": "GBP", "minimum": 255}, {"skus": (BOOK, MUG)}]
)
async def test_a_coupon_counts_from_its_start_to_before_its_end_and_from_its_minimum_on(rule: dict[str, Any]) -> None:
    found = await priced(with_coupon(Line(MUG, 1, 255)), *GOODS, coupon(percent=WHOLE, **rule), now=1000)
    assert (found.amounts.total, found.refused_coupon) == (0, None)


async def test_a_coupon_that_was_removed_is_unknown() -> None:
    found = await priced(with_coupon(Line(MUG, 1, 255)), *GOODS)
    assert found.refused_coupon == RefusedCoupon(CODE, CouponFault.UNKNOWN)


async def test_the_last_coupon_of_a_cart_counts() -> None:
    other = Product(Sku(MARK + "OTHER"), "other", 0, NO_CURRENCY, terms=Terms(coupon=Coupon(percent=WHOLE)))
    cart = a_cart(Line(other.sku, 1, 0), Line(MUG, 1, 255), Line(COUPON, 1, 0))
    found = await priced(cart, *GOODS, other, coupon(percent=1000))
    assert [discount.code for discount in found.discounts] == [CODE]


async def test_a_cart_with_nothing_but_a_coupon_is_empty() -> None:
    with pytest.raises(CartEmpty):
        await priced(with_coupon(), *GOODS, coupon(percent=1000))


@pytest.mark.parametrize(
    ("lines", "country", "shipping"),
    [
        ([Line(MUG, 1, 255)], "GB", 395),
        ([Line(MUG, 1, 255)], "FR", 1295),
        ([Line(BOOK, 4, 1000)], "GB", 395),
        ([Line(BOOK, 5, 1000)], "GB", 0),
    ],
)
async def test_shipping_is_priced_by_country_and_goods(lines: list[Line], country: str, shipping: int) -> None:
    assert (await priced(a_cart(*lines), *GOODS, tariff=BY_WEIGHT, country=country)).shipping == shipping


async def test_the_price_of_the_goods_less_discounts_decides_on_shipping() -> None:
    found = await priced(with_coupon(Line(BOOK, 5, 1000)), *GOODS, coupon(percent=1), tariff=BY_WEIGHT)
    assert (found.amounts.goods, found.shipping) == (5000, 0)  # 0.1 of a penny is none
    found = await priced(with_coupon(Line(BOOK, 5, 1000)), *GOODS, coupon(percent=1000), tariff=BY_WEIGHT)
    assert (found.amounts.goods, found.shipping) == (4500, 395)


async def test_the_heaviest_line_decides_by_what_a_cart_is_shipped() -> None:
    cart = a_cart(Line(MUG, 1, 255), Line(SOFA, 1, 50_000))
    with pytest.raises(ShippingNotOffered) as refused:
        await priced(cart, *GOODS, tariff=BY_WEIGHT)
    assert (refused.value.method, refused.value.offered) == ("standard", ["van"])
    found = await priced(cart, *GOODS, tariff=BY_WEIGHT, method="van", is_quote=True)
    assert (found.shipping, list(found.options)) == (4900, [ShippingOption("van", "By van", 4900)])


@pytest.mark.parametrize("tariff", [BY_WEIGHT, None])
async def test_a_method_that_a_reload_has_removed_is_not_offered(tariff: Tariff | None) -> None:
    with pytest.raises(ShippingNotOffered) as refused:
        await priced(a_cart(Line(MUG, 1, 255)), *GOODS, tariff=tariff, method="balloon")
    assert refused.value.offered == (["standard"] if tariff is None else ["standard", "van"])


async def test_around_a_change_a_price_too_low_to_be_shipped_is_not_taken() -> None:
    rates = [ShippingRate(price=0, currency="GBP", from_subtotal=500)]
    tariff = Tariff([ShippingMethod("standard", "Standard", rates)])
    found = await priced(a_cart(Line(MUG, 2, 255)), PRODUCT.at(START - 1), tariff=tariff, now=START - 1)
    assert found.amounts.total == 510


async def test_prices_include_the_tax_of_each_line_and_of_shipping() -> None:
    tariff = Tariff(BY_WEIGHT.methods.values(), taxes=InclusiveTaxes(RATES))
    found = await priced(a_cart(Line(MUG, 3, 255), Line(BOOK, 1, 1000)), *GOODS, tariff=tariff, country="DE")
    assert found.lines == (
        OrderLine(MUG, "a mug", 3, 255, tax=122, tax_rate="19"),  # 765 * 19 / 119 = 122.14
        OrderLine(BOOK, "a book", 1, 1000, tax=65, tax_rate="7"),
    )
    assert found.tax == ShippingTax(is_added=False, amount=207, rate="19")
    assert (found.amounts.tax, found.amounts.total) == (122 + 65 + 207, 765 + 1000 + 1295)


async def test_tax_is_added_to_prices_after_discounts() -> None:
    tariff = Tariff(BY_WEIGHT.methods.values(), taxes=ExclusiveTaxes(RATES))
    cart = with_coupon(Line(MUG, 1, 255), Line(BOOK, 1, 1000))
    found = await priced(cart, *GOODS, coupon(percent=1000, free_shipping=True), tariff=tariff, country="DE")
    # 229 * 19 % = 43.51, 900 * 7 % = 63; shipping costs nothing.
    assert [(line.discount, line.tax) for line in found.lines] == [(26, 44), (100, 63)]
    assert found.tax == ShippingTax(is_added=True, amount=0, rate="19")
    assert found.amounts.total == 229 + 900 + 44 + 63


async def test_a_country_without_a_rate_has_no_tax() -> None:
    tariff = Tariff(taxes=ExclusiveTaxes(RATES))
    found = await priced(a_cart(Line(MUG, 1, 255)), *GOODS, tariff=tariff, country="US")
    assert (found.lines[0].tax_rate, found.amounts.tax, found.amounts.total) == ("", 0, 255)
