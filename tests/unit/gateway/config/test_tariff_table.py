"""The table of shipping methods and taxes, and the tariff that it becomes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from checkout.ports.taxes import LineTax, Taxable
from checkout.tariff.shipping_methods import Parcel, ShippingOption
from gateway.config.file import ConfigError, read_text
from gateway.policies.tariff import tariff_of

TABLES = """
[tariff]
weight_classes = ["letter", "parcel"]

[[tariff.shipping_methods]]
name = "post"
title = "By post"
rates = [
  { price = 0, currency = "GBP", countries = ["GB"], weight_class = "letter", from_subtotal = 1000 },
  { price = 395, currency = "GBP", countries = ["GB"] },
]

[[tariff.shipping_methods]]
name = "van"
rates = [{ price = 4900 }]

[tariff.tax]
prices = "exclusive"

[[tariff.tax.rates]]
percent = 8.875
countries = ["GB", "US"]
"""


def errors(text: str) -> Sequence[str]:
    with pytest.raises(ConfigError) as refused:
        read_text(text)
    return refused.value.errors


def test_without_a_table_shipping_is_free_and_there_is_no_tax() -> None:
    tariff = tariff_of(read_text("").policies)
    assert (tariff.is_plain, tariff.flat_price, tariff.default) == (True, 0, "standard")


async def test_a_table_becomes_methods_and_taxes() -> None:
    tariff = tariff_of(read_text(TABLES).policies)
    assert (tariff.is_plain, tariff.default) == (False, "post")
    heavy, light = Parcel("GB", "GBP", 1000, weight_class=1), Parcel("GB", "GBP", 1000)
    assert tariff.options(heavy) == [ShippingOption("post", "By post", 395), ShippingOption("van", "van", 4900)]
    assert tariff.price_of("post", light) == 0
    assert [option.name for option in tariff.options(Parcel("FR", "EUR", 1000))] == ["van"]
    assert tariff.taxes is not None
    taxed = await tariff.taxes.on([Taxable("", 1000)], shipping=100, country="US")
    assert taxed == (True, [LineTax(89, "8.875")], LineTax(9, "8.875"))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (('"letter", "parcel"', '"letter", "letter"'), "weight_classes[1]: is the same as one above"),
        (('name = "van"', 'name = "post"'), "shipping_methods[1].name: is the same as that of one above"),
        (("rates = [{ price = 4900 }]", "rates = []"), "shipping_methods[1].rates: must have 1 or more"),
        (("price = 4900", "price = -1"), "rates[0].price: must be a whole number from 0"),
        (("price = 4900", 'price = 1, weight_class = "heavy"'), "'heavy' is not in tariff.weight_classes"),
        (("price = 4900", "price = 1, from_subtotal = 1"), "from_subtotal: needs `currency`"),
        (("price = 4900", 'price = 1, countries = ["XX"]'), "is no country code of ISO 3166-1 alpha-2"),
        (("8.875", "8.87512"), "percent: must have at most four decimals"),
        (('"GB", "US"', '"GB", "GB"'), "has a rate for 'standard' above already"),
    ],
)
def test_a_wrong_table_is_refused_with_its_place(change: tuple[str, str], error: str) -> None:
    found = errors(TABLES.replace(*change))
    assert any(error in each for each in found), found
    assert len(found) == 1
