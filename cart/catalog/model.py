"""Products of the catalogue: the rows of an import, and views."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cart.catalog import responses
from cart.model import NO_TERMS, Money, Product, Sku, Terms
from cart.scheduled_prices import without_past
from cart.timestamps import rfc3339

NAME_MAX_BYTES = 1000
# The members that the stock decides.
_OF_STOCK = ("stock", "in_stock", "sold_ahead", "available_on")
# The mark of a view with the last known stock.
STOCK_UNKNOWN = ("products",)


class CatalogRow(msgspec.Struct, frozen=True, gc=False):
    """A product as an import puts it; `price` is in minor units of `currency`, `stock` the units to sell from now on.

    None leaves a value as it is; price and currency come together. An empty `category` takes the product out of its own.
    A new product needs name, price and currency; without a stock it has none. The stock of a known product stays as it is
    unless the row is a count: prices are imported while units are sold. `terms` is a JSON merge patch (RFC 7396) of the
    product's `Terms`: those that it does not name stay, and null is the default.
    """

    sku: Sku
    name: str | None = None
    price: int | None = None
    currency: str | None = None
    stock: int | None = None
    category: str | None = None
    terms: str | None = None

    @property
    def has_scheduled_prices(self) -> bool:
        """Whether it gives the product scheduled prices."""
        return self.terms is not None and bool(terms_of(self).scheduled_prices)

    @property
    def is_count(self) -> bool:
        """Whether it says nothing but the stock."""
        return self.stock is not None and self == CatalogRow(self.sku, stock=self.stock)


def row_of(product: Product, now: int) -> CatalogRow:
    """The row that puts this product, without its stock. It does not name terms with their defaults, nor prices that have ended."""
    terms = product.terms
    if terms.scheduled_prices:
        terms = msgspec.structs.replace(terms, scheduled_prices=without_past(terms.scheduled_prices, now))
    return CatalogRow(
        product.sku,
        product.name,
        product.ordinary_price,
        product.currency,
        category=product.category,
        terms=None if terms == NO_TERMS else msgspec.json.encode(terms).decode(),
    )


def terms_of(row: CatalogRow) -> Terms:
    """The terms that a row of a whole product names."""
    return patched_terms(NO_TERMS, row.terms)


def patched_terms(terms: Terms, patch: str | None) -> Terms:
    """The terms after a merge patch of a row, None for none."""
    if patch is None:
        return terms
    members = msgspec.to_builtins(terms) | msgspec.json.decode(patch)
    return msgspec.convert({name: value for name, value in members.items() if value is not None}, Terms)


class ProductFilter(msgspec.Struct, frozen=True, gc=False):
    """The products of one category, or with a price in a range; None is no limit.

    Prices are in minor units of `currency` and include both ends; with one of them, only products sold in that currency
    are meant.
    """

    category: str | None = None
    currency: str | None = None
    min_price: int | None = None
    max_price: int | None = None

    @property
    def has_prices(self) -> bool:
        """Whether prices are limited."""
        return self.min_price is not None or self.max_price is not None

    def admits_price(self, price: int, currency: str) -> bool:
        """Whether a product of that price is meant, in any category."""
        if not self.has_prices:
            return True
        is_low_enough = self.max_price is None or price <= self.max_price
        return currency == self.currency and is_low_enough and price >= (self.min_price or 0)

    def admits(self, product: Product) -> bool:
        """Whether that product is meant."""
        is_in_category = self.category is None or product.category == self.category
        return is_in_category and self.admits_price(product.price, product.currency)


class PageOptions(msgspec.Struct, frozen=True, gc=False):
    """Which products are on a page, beside its query, and which of their members.

    `fields` are names of members, None for all; the SKU is always there. `in_stock` leaves out products without units for sale.
    """

    fields: frozenset[str] | None = None
    only: ProductFilter | None = None
    in_stock: bool = False

    def admits(self, product: Product, *, in_stock: bool) -> bool:
        """Whether a product is on the page, by its price, category and stock of this moment."""
        return (in_stock or not self.in_stock) and (self.only is None or self.only.admits(product))

    @property
    def needs_stock(self) -> bool:
        """Whether the stock must be read."""
        return self.in_stock or self.fields is None or not self.fields.isdisjoint(_OF_STOCK)


NO_OPTIONS = PageOptions()


class ProductView(msgspec.Struct, gc=False):
    """A product with its stock of this moment, in the form of the public API; `stock` None leaves the count out.

    `degraded` names the uncertain parts: `prices` may have changed since, of `products` the stock is the last known.
    `price_left_ms` is how long the price still holds, None if that is longer than caches may serve it. With `is_ahead`, the next unit
    is sold before the shop has it. `encoded` caches the response of the sender, so that sending it again costs nothing.
    """

    product: Product
    in_stock: bool
    stock: int | None
    degraded: tuple[str, ...] = ()
    price_left_ms: int | None = None
    is_ahead: bool = False
    encoded: object = None

    def to_json(self) -> bytes:
        """The body of `GET /v1/products/{sku}`."""
        return msgspec.json.encode(_response(self))


class ProductPage(msgspec.Struct, gc=False):
    """Some products in catalogue order; `next_cursor` leads to the next page, None where there is none.

    A page may hold fewer products than were asked for, even none, and still have a next one: a search that would take
    too long returns its results so far. `fields` are the members of its products, None for all.
    """

    products: Sequence[ProductView]
    next_cursor: str | None
    degraded: tuple[str, ...] = ()
    fields: frozenset[str] | None = None
    encoded: object = None

    @property
    def price_left_ms(self) -> int | None:
        """How long all its prices still hold, as of `ProductView`."""
        return min((view.price_left_ms for view in self.products if view.price_left_ms is not None), default=None)

    def to_json(self) -> bytes:
        """The body of `GET /v1/products`."""
        fields = self.fields
        if fields is None:
            products = [_response(view) for view in self.products]
        else:
            products = [_some_members(view, fields) for view in self.products]
        return msgspec.json.encode(responses.ProductPage(products, self.next_cursor))


def _response(view: ProductView) -> responses.ListedProduct:
    """With all members: the same as `responses.Product`."""
    product, stock = view.product, view.stock
    was, until = product.was, product.price_until
    return responses.ListedProduct(
        sku=product.sku,
        name=product.name,
        price=Money(product.price, product.currency),
        was=msgspec.UNSET if was is None else Money(was, product.currency),
        price_until=msgspec.UNSET if until is None else rfc3339(until),
        in_stock=view.in_stock,
        stock=msgspec.UNSET if stock is None else stock,
        category=product.category or msgspec.UNSET,
        per_shopper=product.terms.per_shopper or msgspec.UNSET,
        sold_ahead=(view.is_ahead and product.terms.sold_ahead) or msgspec.UNSET,
        available_on=(view.is_ahead and product.terms.available_on) or msgspec.UNSET,
    )


def _some_members(view: ProductView, fields: frozenset[str]) -> responses.ListedProduct:
    whole = _response(view)
    left_out = {name: msgspec.UNSET for name in responses.OPTIONAL_MEMBERS if name not in fields}
    return msgspec.structs.replace(whole, **left_out)
