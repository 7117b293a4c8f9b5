"""The response bodies of the cart calls. The schemas of the OpenAPI document are generated from these structs.

`cart.view` renders `Cart` and `CartLine` straight to bytes, because carts are read far more often than anything else; a
test compares its bytes with the encoding of these structs.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from cart.model import CurrencyCode, Money, Timestamp

CartIdText = Annotated[str, Meta(examples=["7fmzxw6ylqnb2k3tgcvd5hsr4a"])]
Quantity = Annotated[int, Meta(ge=1)]
Discounts = Annotated[list[Any], Meta(description="Always empty: there are no discounts yet.")]


class CartLineWarning(Struct, frozen=True, forbid_unknown_fields=True):
    """The line is not at the price last shown: the price changed from `was`, or the product is no longer sold."""

    code: Literal["price-changed", "product-unavailable"]
    was: Money | UnsetType = UNSET


class CartLine(Struct, frozen=True, forbid_unknown_fields=True):
    """A quantity of one SKU at its current price."""

    sku: str
    name: str
    quantity: Quantity
    unit_price: Money
    total: Money
    warnings: list[CartLineWarning] | UnsetType = UNSET


class Cart(Struct, frozen=True, forbid_unknown_fields=True):
    """A cart at current prices."""

    id: CartIdText
    version: Annotated[int, Meta(ge=1, description="Rises by one at each change.")]
    currency: CurrencyCode
    status: Literal["open", "ordered", "merged"]
    lines: Annotated[list[CartLine], Meta(description="In the order in which their SKUs were first added.")]
    item_count: Annotated[int, Meta(ge=0, description="The sum of the quantities.")]
    subtotal: Money
    discounts: Discounts
    total: Money
    created_at: Timestamp
    updated_at: Timestamp
    expires_at: Timestamp
    order_id: Annotated[str, Meta(description="The order of an ordered cart.")] | UnsetType = UNSET
