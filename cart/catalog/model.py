"""Products of the catalogue: their views, prices in files, and the words of names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import msgspec

from cart.catalog import responses
from cart.currencies import MINOR_DIGITS
from cart.model import Money, Product, Sku

NAME_MAX_BYTES = 1000
# The mark of a view with the last known stock.
STOCK_UNKNOWN = ("products",)
# With 1,000 lines of 10,000 each, a cart's total of such prices still is a signed 64-bit integer.
PRICE_MAX = 10**11
STOCK_MAX = 10**12

_PRICE = re.compile(r"([0-9]{1,12})(?:\.([0-9]+))?")
_WORD = re.compile(r"[^\W_]+")


class CatalogRow(msgspec.Struct, frozen=True, gc=False):
    """A product as an import puts it; `price` is in minor units of `currency`, `stock` the units to sell from now on."""

    sku: Sku
    name: str
    price: int
    currency: str
    stock: int


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


def minor_units(text: str, currency: str) -> int:
    """The minor units that a decimal price in major units is: `2.55` GBP is 255, `300` JPY is 300, `1.250` KWD is 1250.

    Raises `ValueError`, worded for the owner of the file: no plain decimal number, more digits than the currency has
    (ISO 4217), or above `PRICE_MAX`.
    """
    match = _PRICE.fullmatch(text)
    if match is None:
        raise ValueError("is no price such as 2.55")
    whole, fraction = match[1], match[2] or ""
    digits = MINOR_DIGITS.get(currency, 2)
    if len(fraction) > digits:
        raise ValueError(
            f"has more than the {digits} decimals of {currency}" if digits else f"has decimals, {currency} has none"
        )
    amount = int(whole + fraction.ljust(digits, "0"))
    if amount > PRICE_MAX:
        raise ValueError(f"is above {PRICE_MAX} minor units")
    return amount


def words_of(text: str) -> list[str]:
    """The words by which a name is found: its runs of letters and digits, without case, accents and forms of width."""
    if not text.isascii():
        text = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    return _WORD.findall(text.casefold())
