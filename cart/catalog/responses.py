"""The response bodies of the product calls. The schemas of the OpenAPI document are generated from these structs."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import UNSET, Meta, Struct, UnsetType

from cart.catalog.categories import CATEGORY_MAX_BYTES
from cart.model import Money, SoldAhead, Timestamp
from cart.responses import ProductName, SkuOfLine

InStock = Annotated[bool, Meta(description="Whether the shop has units for sale.")]
Stock = Annotated[
    int,
    Meta(
        ge=0,
        extra_json_schema={"format": "int64"},
        description="Units for sale; absent where the shop hides it or it is unknown.",
    ),
]
Category = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=CATEGORY_MAX_BYTES,
        description="The category of the shop; absent where the product has none.",
    ),
]


Was = Annotated[Money, Meta(description="The ordinary price while a lower one holds.")]
PriceUntil = Annotated[
    Timestamp, Meta(description="When the scheduled price ends; absent while the ordinary price holds.")
]
PerShopper = Annotated[
    int,
    Meta(
        ge=1,
        extra_json_schema={"format": "int64"},
        description="The most units that one shopper may order within the shop's time for that; absent without a limit.",
    ),
]
SoldAheadNow = Annotated[
    SoldAhead,
    Meta(description="While the stock is sold out, and units are sold that the shop does not have yet."),
]
AvailableOn = Annotated[
    str,
    Meta(
        description="Of a product that is sold ahead now: the day about which its units come.",
        examples=["2026-12-20"],
        extra_json_schema={"format": "date"},
    ),
]


class Product(Struct, gc=False, forbid_unknown_fields=True):
    """A product with its current price and stock."""

    sku: SkuOfLine
    name: ProductName
    price: Money
    in_stock: InStock
    was: Was | UnsetType = UNSET
    price_until: PriceUntil | UnsetType = UNSET
    stock: Stock | UnsetType = UNSET
    category: Category | UnsetType = UNSET
    per_shopper: PerShopper | UnsetType = UNSET
    sold_ahead: SoldAheadNow | UnsetType = UNSET
    available_on: AvailableOn | UnsetType = UNSET


class ListedProduct(Struct, gc=False, forbid_unknown_fields=True):
    """A product of a page. It has all members of a product, or with `fields` its SKU and those that were named."""

    sku: SkuOfLine
    name: ProductName | UnsetType = UNSET
    price: Money | UnsetType = UNSET
    was: Was | UnsetType = UNSET
    price_until: PriceUntil | UnsetType = UNSET
    in_stock: InStock | UnsetType = UNSET
    stock: Stock | UnsetType = UNSET
    category: Category | UnsetType = UNSET
    per_shopper: PerShopper | UnsetType = UNSET
    sold_ahead: SoldAheadNow | UnsetType = UNSET
    available_on: AvailableOn | UnsetType = UNSET


MEMBERS: Final = ListedProduct.__struct_fields__
OPTIONAL_MEMBERS: Final = MEMBERS[1:]


class ProductPage(Struct, gc=False, forbid_unknown_fields=True):
    """A page of the catalogue or of a search."""

    products: Annotated[list[ListedProduct], Meta(description="In the stable order of the catalogue, or by relevance.")]
    next_cursor: Annotated[str | None, Meta(description="The `cursor` of the next page; null on the last page.")]
