"""The response bodies of the product calls. The schemas of the OpenAPI document are generated from these structs."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from cart.model import Money
from cart.responses import ProductName, SkuOfLine


class Product(Struct, gc=False, forbid_unknown_fields=True):
    """A product with its current price and stock."""

    sku: SkuOfLine
    name: ProductName
    price: Money
    in_stock: Annotated[bool, Meta(description="Whether there are units for sale.")]
    stock: (
        Annotated[
            int,
            Meta(
                ge=0,
                extra_json_schema={"format": "int64"},
                description="Units for sale; absent where the shop hides it or it is unknown.",
            ),
        ]
        | UnsetType
    ) = UNSET


class ProductPage(Struct, gc=False, forbid_unknown_fields=True):
    """A page of the catalogue or of a search."""

    products: Annotated[list[Product], Meta(description="In the stable order of the catalogue, or by relevance.")]
    next_cursor: Annotated[str | None, Meta(description="The `cursor` of the next page; null on the last page.")]
