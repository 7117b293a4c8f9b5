"""Products of the catalogue: the rows of an import, and views."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cart.catalog import responses
from cart.model import Money, Product, Sku

NAME_MAX_BYTES = 1000
# The mark of a view with the last known stock.
STOCK_UNKNOWN = ("products",)


class CatalogRow(msgspec.Struct, frozen=True, gc=False):
    """A product as an import puts it; `price` is in minor units of `currency`, `stock` the units to sell from now on.

    None leaves a value as it is; price and currency come together. A new product needs both and a name; without a stock
    it has none.
    """

    sku: Sku
    name: str | None = None
    price: int | None = None
    currency: str | None = None
    stock: int | None = None


class ProductView(msgspec.Struct, gc=False):
    """A product with its stock of this moment, in the form of the public API; `stock` None leaves the count out.

    `degraded` names the uncertain parts: `prices` may have changed since, of `products` the stock is the last known.
    `encoded` caches the response of the sender, so that sending it again costs nothing.
    """

    product: Product
    in_stock: bool
    stock: int | None
    degraded: tuple[str, ...] = ()
    encoded: object = None

    def to_json(self) -> bytes:
        """The body of `GET /v1/products/{sku}`."""
        return msgspec.json.encode(_response(self))


class ProductPage(msgspec.Struct, gc=False):
    """Some products in catalogue order; `next_cursor` leads to the next page, None where there is none.

    A page may hold fewer products than were asked for, even none, and still have a next one: a search that would take
    too long returns its results so far.
    """

    products: Sequence[ProductView]
    next_cursor: str | None
    degraded: tuple[str, ...] = ()
    encoded: object = None

    def to_json(self) -> bytes:
        """The body of `GET /v1/products`."""
        products = [_response(view) for view in self.products]
        return msgspec.json.encode(responses.ProductPage(products, self.next_cursor))


def _response(view: ProductView) -> responses.Product:
    product, stock = view.product, view.stock
    return responses.Product(
        sku=product.sku,
        name=product.name,
        price=Money(product.price, product.currency),
        in_stock=view.in_stock,
        stock=msgspec.UNSET if stock is None else stock,
    )
