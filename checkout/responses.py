"""The response bodies of the order calls. The schemas of the OpenAPI document are generated from these structs."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from cart.model import Money, Timestamp
from cart.responses import CartIdText, Discounts, ProductName, Quantity, RefusedCoupon, SkuOfLine
from checkout.order_status import CancelReason, OrderStatus


class OrderLine(Struct, frozen=True, forbid_unknown_fields=True):
    """A quantity of one SKU at the price when the order was accepted."""

    sku: SkuOfLine
    name: ProductName
    quantity: Quantity
    unit_price: Money
    total: Annotated[Money, Meta(description="Quantity times unit price, before discounts.")]
    discount: Annotated[Money, Meta(description="Share of the order's discounts, if it has any.")] | UnsetType = UNSET
    tax: Annotated[Money, Meta(description="Of the price less discount; absent where there is none.")] | UnsetType = (
        UNSET
    )
    tax_rate: Annotated[str, Meta(description="In percent.", examples=["20"])] | UnsetType = UNSET
    ahead: (
        Annotated[
            int,
            Meta(
                ge=1,
                description="How many of the units were sold before the shop has them.",
                extra_json_schema={"format": "int64"},
            ),
        ]
        | UnsetType
    ) = UNSET
    available_on: (
        Annotated[
            str,
            Meta(
                description="The day about which units that were sold ahead come, as known at the checkout.",
                examples=["2026-12-20"],
                extra_json_schema={"format": "date"},
            ),
        ]
        | UnsetType
    ) = UNSET


class Tax(Struct, frozen=True, forbid_unknown_fields=True):
    """The tax of all lines and of shipping. Prices include it, or else it is added to them in the total."""

    amount: Money
    shipping: Annotated[Money, Meta(description="The part that is of shipping.")]
    included: Annotated[bool, Meta(description="Whether prices include the tax.")]


class ShippingAddress(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The address that an order is shipped to; `country` is ISO 3166-1 alpha-2 in capitals."""

    name: Annotated[str, Meta(description="The recipient.", examples=["Ada Lovelace"])]
    line1: Annotated[str, Meta(description="Street and number.", examples=["12 St James's Square"])]
    line2: Annotated[str, Meta(description="More of the address.", examples=["Flat 2"])] | UnsetType = UNSET
    city: Annotated[str, Meta(description="Town or city.", examples=["London"])]
    postcode: Annotated[str, Meta(description="Empty where a country has none.", examples=["SW1Y 4JH"])]
    country: Annotated[str, Meta(description="ISO 3166-1 alpha-2 code.", examples=["GB"])]


class Shipment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shipment of an order, once it is arranged."""

    reference: Annotated[str, Meta(description="Its id at the carrier or fulfilment service.", examples=["shp_01HZX3"])]
    carrier: Annotated[str, Meta(description="The carrier.", examples=["Royal Mail"])]
    tracking_number: Annotated[str, Meta(description="For the shopper.", examples=["AB123456789GB"])] | UnsetType = (
        UNSET
    )
    tracking_url: (
        Annotated[
            str, Meta(description="Where the shopper follows it.", examples=["https://track.example/AB123456789GB"])
        ]
        | UnsetType
    ) = UNSET


class OrderEvent(Struct, frozen=True, forbid_unknown_fields=True):
    """A change of an order's status, a refund, or a note; the last two with the status as it was."""

    status: OrderStatus
    at: Timestamp
    detail: Annotated[str, Meta(description="An explanation for people.")] | UnsetType = UNSET
    refunded: Annotated[Money, Meta(description="What was refunded by this entry.")] | UnsetType = UNSET


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
    shipping: Annotated[Money, Meta(description="The price of the shipping method, before discounts.")]
    tax: Annotated[Tax, Meta(description="Absent where the shop has no taxes.")] | UnsetType = UNSET
    total: Annotated[
        Money,
        Meta(
            description="What the shopper pays: subtotal less discounts, shipping, and tax that prices do not include."
        ),
    ]
    refunded: Annotated[Money, Meta(description="What was refunded in all, if anything was.")] | UnsetType = UNSET
    email: Annotated[str, Meta(description="The address of the shopper.", examples=["ada@example.com"])]
    # Not in an anonymous order: its id is known to everyone who has the link of its cart.
    shipping_address: ShippingAddress | UnsetType = UNSET
    # Not in an anonymous order either: a carrier's page may show the address.
    shipment: Shipment | UnsetType = UNSET
    created_at: Timestamp
    updated_at: Timestamp
    history: Annotated[list[OrderEvent], Meta(description="What has become of the order, the oldest first.")]


class ShippingOption(Struct, frozen=True, forbid_unknown_fields=True):
    """A shipping method that a cart can have."""

    name: Annotated[str, Meta(description="The `shipping_method` of a checkout.", examples=["standard"])]
    title: Annotated[str, Meta(description="For shoppers.", examples=["Standard"])]
    price: Money


class Quote(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The price of an order of the cart as of now; `total` is the `expected_total` of its checkout."""

    cart_id: CartIdText
    lines: Annotated[list[OrderLine], Meta(description="In the order of the cart.")]
    subtotal: Money
    discounts: Discounts
    refused_coupon: RefusedCoupon | UnsetType = UNSET
    shipping_methods: Annotated[list[ShippingOption], Meta(description="Those that the cart can have.")]
    shipping_method: Annotated[str, Meta(description="The one that is quoted.", examples=["standard"])]
    shipping: Annotated[Money, Meta(description="The price of the shipping method, before discounts.")]
    tax: Annotated[Tax, Meta(description="Absent where the shop has no taxes.")] | UnsetType = UNSET
    total: Annotated[Money, Meta(description="What the shopper would pay.")]


class OrderPage(Struct, frozen=True, forbid_unknown_fields=True):
    """A page of the signed-in shopper's orders."""

    orders: Annotated[list[Order], Meta(description="The latest first.")]
    next_cursor: Annotated[str | None, Meta(description="The `cursor` of the next page; null on the last page.")]
