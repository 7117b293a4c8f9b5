"""The response bodies of the order calls. The schemas of the OpenAPI document are generated from these structs."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from cart.model import Money, Timestamp
from cart.responses import CartIdText, Discounts, ProductName, Quantity, SkuOfLine
from checkout.order_status import CancelReason, OrderStatus


class OrderLine(Struct, frozen=True, forbid_unknown_fields=True):
    """A quantity of one SKU at the price when the order was accepted."""

    sku: SkuOfLine
    name: ProductName
    quantity: Quantity
    unit_price: Money
    total: Money


class OrderEvent(Struct, frozen=True, forbid_unknown_fields=True):
    """A change of an order's status."""

    status: OrderStatus
    at: Timestamp
    detail: Annotated[str, Meta(description="An explanation for people.")] | UnsetType = UNSET


class Order(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An order in its current status."""

    id: Annotated[str, Meta(description="The id of the order.", examples=["7fzqk3d5wmx2anbt6hcvr4ylse"])]
    number: Annotated[str, Meta(description="Short, for people.", examples=["7KQ3M-XP4RT"])]
    cart_id: CartIdText
    status: OrderStatus
    reason: CancelReason | UnsetType = UNSET
    lines: Annotated[list[OrderLine], Meta(description="In the order of the cart.")]
    subtotal: Money
    discounts: Discounts
    shipping: Money
    total: Money
    email: Annotated[str, Meta(description="The address of the shopper.", examples=["ada@example.com"])]
    created_at: Timestamp
    updated_at: Timestamp
    history: Annotated[list[OrderEvent], Meta(description="Every status the order has had, the oldest first.")]
