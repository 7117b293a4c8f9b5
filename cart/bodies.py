"""The request bodies of the cart calls."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

from cart.ids import SKU_MAX_BYTES
from cart.model import Strategy

SkuText = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=SKU_MAX_BYTES,
        description="Printable, at most 64 bytes of UTF-8, without a backslash; blanks around it do not count.",
    ),
]

NewQuantity = Annotated[
    int, Meta(ge=0, description="The units of the line; 0 removes it.", extra_json_schema={"format": "int32"})
]
# The list of codes is checked by handlers.
CurrencyText = Annotated[
    str, Meta(description="ISO 4217 code.", examples=["GBP"], extra_json_schema={"pattern": "^[A-Z]{3}$"})
]


class NewCart(Struct, frozen=True, forbid_unknown_fields=True):
    """The body that makes a cart."""

    currency: CurrencyText | None = None


class AddLine(Struct, frozen=True, forbid_unknown_fields=True):
    """The body that adds to the line of a SKU."""

    sku: SkuText
    quantity: Annotated[int, Meta(ge=1, description="The units to add.", extra_json_schema={"format": "int32"})]


class PutLine(Struct, frozen=True, forbid_unknown_fields=True):
    """The body that sets a line; quantity 0 removes it."""

    quantity: NewQuantity


class SetLine(Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the body that sets many; quantity 0 removes it."""

    sku: SkuText
    quantity: NewQuantity


class PutCoupon(Struct, frozen=True, forbid_unknown_fields=True):
    """The body that gives a cart a coupon."""

    code: Annotated[
        str, Meta(min_length=1, max_length=64, description="In any case of letters.", examples=["SUMMER10"])
    ]


class MergeCart(Struct, frozen=True, forbid_unknown_fields=True):
    """The body that takes the lines of another cart into this one.

    For a SKU that both carts have, `strategy` decides whether the quantity becomes the sum, the larger one, or stays.
    """

    source: Annotated[str, Meta(description="The id of the cart whose lines are taken.")] = field(name="from")
    strategy: Annotated[Strategy, Meta(description="The quantity of a SKU that both carts have.")]
