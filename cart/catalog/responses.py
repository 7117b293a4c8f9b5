"""The response bodies of the product calls. The schemas of the OpenAPI document are generated from these structs."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from cart.model import Money


class Product(Struct, gc=False, forbid_unknown_fields=True):
    """A product with its current price and stock."""

    sku: str
    name: str
    price: Money
    in_stock: bool
    stock: (
        Annotated[int, Meta(ge=0, description="Units for sale; absent where the shop hides it or it is unknown.")]
        | UnsetType
    ) = UNSET


class ProductPage(Struct, gc=False, forbid_unknown_fields=True):
    """A page of the catalogue or of a search."""

    products: list[Product]
    next_cursor: Annotated[str | None, Meta(description="The `cursor` of the next page; null on the last page.")]
