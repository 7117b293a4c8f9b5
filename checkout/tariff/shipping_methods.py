"""The prices of shipping methods, by country, weight class and the price of the goods."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class Parcel(msgspec.Struct, frozen=True):
    """A shipment: goods of a price, less discounts, in minor units of `currency`; the heaviest is of `weight_class`."""

    country: str
    currency: str
    goods: int
    weight_class: int = 0


class ShippingRate(msgspec.Struct, frozen=True, kw_only=True):
    """A price in minor units, for parcels that it fits: none of `countries` is all of them, None any currency and any weight."""

    price: int
    currency: str | None = None
    countries: frozenset[str] = frozenset()
    weight_class: int | None = None
    from_subtotal: int = 0

    def fits(self, parcel: Parcel) -> bool:
        """Whether a parcel is shipped at this price."""
        return (
            (not self.countries or parcel.country in self.countries)
            and self.currency in {None, parcel.currency}
            and (self.weight_class is None or parcel.weight_class <= self.weight_class)
            and parcel.goods >= self.from_subtotal
        )


class ShippingMethod(msgspec.Struct, frozen=True):
    """A method with its rates, of which the first that fits is its price."""

    name: str
    title: str
    rates: Sequence[ShippingRate]

    def price_of(self, parcel: Parcel) -> int | None:
        """Its price in minor units; None if it is not offered for this parcel."""
        return next((rate.price for rate in self.rates if rate.fits(parcel)), None)


class ShippingOption(msgspec.Struct, frozen=True):
    """A method that is offered for a parcel, at its price in minor units."""

    name: str
    title: str
    price: int
