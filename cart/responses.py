"""The response bodies of the cart calls. The schemas of the OpenAPI document are generated from these structs.

`cart.view` renders `Cart` and `CartLine` straight to bytes, because carts are read far more often than anything else; a
test compares its bytes with the encoding of these structs.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from cart.coupons import CouponFault
from cart.model import CurrencyCode, Money, Timestamp

CartIdText = Annotated[str, Meta(description="The id of a cart.", examples=["7fmzxw6ylqnb2k3tgcvd5hsr4a"])]
SkuOfLine = Annotated[str, Meta(description="The SKU of the product.", examples=["85123A"])]
ProductName = Annotated[
    str, Meta(description="The name of the product.", examples=["WHITE HANGING HEART T-LIGHT HOLDER"])
]
Quantity = Annotated[int, Meta(ge=1, description="The number of units.", extra_json_schema={"format": "int32"})]


class Discount(Struct, frozen=True, forbid_unknown_fields=True):
    """The reduction by a coupon; `shipping` is its part of shipping, the rest is of the lines."""

    code: Annotated[str, Meta(description="The code of the coupon.", examples=["SUMMER10"])]
    name: Annotated[str, Meta(description="For shoppers.", examples=["Summer: 10 % off"])]
    amount: Money
    shipping: Money | UnsetType = UNSET


Discounts = Annotated[list[Discount], Meta(description="What coupons take off; empty without one.")]


class RefusedCoupon(Struct, frozen=True, forbid_unknown_fields=True):
    """The coupon of the cart, if it takes off nothing."""

    code: Annotated[str, Meta(description="The code of the coupon.", examples=["SUMMER10"])]
    reason: CouponFault


class CartLineWarning(Struct, frozen=True, forbid_unknown_fields=True):
    """What a shopper should know of a line: its price changed from `was`, its product is no longer sold, or is short.

    `insufficient-stock`: the quantity exceeds the stock, of which `available` units are left, as of some two seconds ago.
    `per-shopper-limit`: it exceeds the `limit` for one shopper; earlier orders of the shopper are counted at the checkout only.
    `backorder`, `preorder`: units of the line are sold before the shop has them, which is about `available_on`.
    """

    code: Annotated[
        Literal[
            "price-changed", "product-unavailable", "insufficient-stock", "per-shopper-limit", "backorder", "preorder"
        ],
        Meta(
            description="What has changed since the line was last shown, or what its quantity exceeds; `backorder` and `preorder` lines can be ordered."
        ),
    ]
    was: Money | UnsetType = UNSET
    available: (
        Annotated[
            int,
            Meta(
                ge=0,
                description="Of `insufficient-stock`: the units for sale; absent where the shop hides them.",
                extra_json_schema={"format": "int64"},
            ),
        ]
        | UnsetType
    ) = UNSET
    limit: (
        Annotated[
            int,
            Meta(
                ge=1,
                description="Of `per-shopper-limit`: the most units for one shopper.",
                extra_json_schema={"format": "int64"},
            ),
        ]
        | UnsetType
    ) = UNSET
    available_on: (
        Annotated[
            str,
            Meta(
                description="Of `backorder` and `preorder`: the day about which the units come; absent while it is unknown.",
                examples=["2026-12-20"],
                extra_json_schema={"format": "date"},
            ),
        ]
        | UnsetType
    ) = UNSET


class LineHold(Struct, frozen=True, forbid_unknown_fields=True):
    """Units of a line that are held for this cart."""

    quantity: Quantity
    until: Annotated[
        Timestamp, Meta(description="When they are for sale again, unless the cart is checked out before.")
    ]
    can_extend: Annotated[bool, Meta(description="Whether the time can be extended: once.")]
    ends_soon: Annotated[bool, Meta(description="Whether less than a minute is left.")]


class CartLine(Struct, frozen=True, forbid_unknown_fields=True):
    """A quantity of one SKU at its current price."""

    sku: SkuOfLine
    name: ProductName
    quantity: Quantity
    unit_price: Money
    total: Money
    warnings: (
        Annotated[
            list[CartLineWarning],
            Meta(description="What has changed since the line was last shown, and of an open cart what is short."),
        ]
        | UnsetType
    ) = UNSET
    hold: (
        Annotated[
            LineHold, Meta(description="Of products that are held at the cart: the units that nobody else can buy.")
        ]
        | UnsetType
    ) = UNSET


class Cart(Struct, frozen=True, forbid_unknown_fields=True):
    """A cart at current prices."""

    id: CartIdText
    version: Annotated[
        int, Meta(ge=1, description="Rises by one at each change.", extra_json_schema={"format": "int64"})
    ]
    currency: CurrencyCode
    status: Annotated[Literal["open", "ordered", "merged"], Meta(description="Only an open cart can be changed.")]
    lines: Annotated[list[CartLine], Meta(description="In the order in which their SKUs were first added.")]
    item_count: Annotated[
        int, Meta(ge=0, description="The sum of the quantities.", extra_json_schema={"format": "int64"})
    ]
    subtotal: Money
    discounts: Discounts
    total: Annotated[Money, Meta(description="Subtotal less discounts; a quote has shipping and taxes too.")]
    created_at: Timestamp
    updated_at: Timestamp
    expires_at: Timestamp
    order_id: Annotated[str, Meta(description="The order of an ordered cart.")] | UnsetType = UNSET
    refused_coupon: RefusedCoupon | UnsetType = UNSET
