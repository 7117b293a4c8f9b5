"""The tariff that policies describe."""

from __future__ import annotations

from checkout.tariff.shipping_methods import ShippingMethod, ShippingRate
from checkout.tariff.tariff import FREE_SHIPPING, Tariff
from checkout.tariff.tax_tables import MILLION, ExclusiveTaxes, InclusiveTaxes
from gateway.config import policies as tables


def tariff_of(policies: tables.Policies) -> Tariff:
    """The shipping methods and taxes of these policies."""
    tariff = policies.tariff
    weights = {name: weight for weight, name in enumerate(tariff.weight_classes)}
    methods = [
        ShippingMethod(method.name, method.title or method.name, [_rate(rate, weights) for rate in method.rates])
        for method in tariff.shipping_methods
    ]
    return Tariff(methods or FREE_SHIPPING, weight_classes=tariff.weight_classes, taxes=_taxes(tariff.tax))


def _rate(rate: tables.ShippingRate, weights: dict[str, int]) -> ShippingRate:
    return ShippingRate(
        price=rate.price,
        currency=rate.currency,
        countries=frozenset(rate.countries),
        weight_class=None if rate.weight_class is None else weights[rate.weight_class],
        from_subtotal=rate.from_subtotal,
    )


def _taxes(tax: tables.Tax) -> InclusiveTaxes | ExclusiveTaxes | None:
    if not tax.rates:
        return None
    rates = {
        (country, rate.tax_class): round(rate.percent * MILLION / 100)
        for rate in tax.rates
        for country in rate.countries
    }
    table = InclusiveTaxes if tax.prices == "inclusive" else ExclusiveTaxes
    return table(rates, shipping_class=tax.shipping_class)
