"""The tariff in force: shipping methods, weight classes and taxes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from cart.model import Product
from checkout.errors import ShippingNotOffered
from checkout.ports.taxes import Taxes
from checkout.tariff.shipping_methods import Parcel, ShippingMethod, ShippingOption, ShippingRate

FREE_SHIPPING: Final = (ShippingMethod("standard", "Standard", (ShippingRate(price=0),)),)


class Tariff:
    """The charges of a shop beside its goods; the default method comes first. Without `taxes`, orders name none.

    `weight_classes` are names, the lightest first; products of a class that is none of them count as the lightest.
    """

    def __init__(
        self,
        methods: Iterable[ShippingMethod] = FREE_SHIPPING,
        *,
        weight_classes: Sequence[str] = (),
        taxes: Taxes | None = None,
    ) -> None:
        self.methods: Mapping[str, ShippingMethod] = {method.name: method for method in methods}
        self.taxes = taxes
        self._weights = {name: weight for weight, name in enumerate(weight_classes)}
        flat = _flat(self.methods.values())
        # Whether all orders cost the same for shipping, `flat_price`, and no taxes: nothing has to be compared then.
        self.is_plain = flat is not None and taxes is None
        self.flat_price = flat or 0

    @property
    def default(self) -> str:
        """The method of a checkout that names none."""
        return next(iter(self.methods))

    def weight_of(self, products: Sequence[Product]) -> int:
        """The weight class of a parcel: that of its heaviest product."""
        if not self._weights:
            return 0
        return max([self._weights.get(product.terms.weight_class, 0) for product in products], default=0)

    def options(self, parcel: Parcel) -> Sequence[ShippingOption]:
        """The methods that are offered for a parcel, the default first."""
        priced = ((method, method.price_of(parcel)) for method in self.methods.values())
        return [ShippingOption(method.name, method.title, price) for method, price in priced if price is not None]

    def price_of(self, name: str, parcel: Parcel) -> int:
        """The price of a method for a parcel. Raises `ShippingNotOffered`, also for one that a reload has removed."""
        method = self.methods.get(name)
        price = None if method is None else method.price_of(parcel)
        if price is None:
            raise ShippingNotOffered(name, [option.name for option in self.options(parcel)])
        return price


class TariffInForce:
    """The tariff of now, which a reload of the configuration replaces as a whole."""

    def __init__(self, tariff: Tariff | None = None) -> None:
        self.now = tariff or Tariff()


def _flat(methods: Collection[ShippingMethod]) -> int | None:
    """The price of the only method, if it is the same for all orders."""
    rates = [rate for method in methods for rate in method.rates]
    return rates[0].price if len(rates) == 1 and rates[0] == ShippingRate(price=rates[0].price) else None
