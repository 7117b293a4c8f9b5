"""Facts: reports on an order from outside, by a provider's webhook or an operator.

A webhook or a command only appends a fact to the order (`Orders.append_fact`); the worker that runs the order applies it.
Facts contain no personal data. Times are Unix milliseconds UTC, amounts minor units of the order's currency.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from cart.model import Sku

# Of the shipment of a completed order.
ShipmentStatus: TypeAlias = Literal["shipped", "delivered", "returned"]
# An order with so many facts takes no more.
MAX_FACTS: Final = 256


class PaymentFact(msgspec.Struct, frozen=True, omit_defaults=True, tag="payment", tag_field="kind"):
    """The payment service told of a change of the order's payment. `reference` is its name for the payment."""

    id: str
    at: int
    became: Literal["authorised", "captured", "voided", "refunded", "declined", "expired"]
    amount: int | None = None
    reference: str | None = None


class ReturnedLine(msgspec.Struct, frozen=True):
    """Units of a SKU that came back."""

    sku: Sku
    quantity: Annotated[int, msgspec.Meta(ge=1)]


class ShipmentFact(msgspec.Struct, frozen=True, omit_defaults=True, tag="shipment", tag_field="kind"):
    """The carrier or an operator told where the shipment is."""

    id: str
    at: int
    became: ShipmentStatus
    carrier: str | None = None
    tracking: str | None = None
    tracking_url: str | None = None
    restock: bool = False
    """The goods of a returned order are put back into stock."""
    lines: tuple[ReturnedLine, ...] = ()
    """The units that came back; all of the order if it names none."""


class RefundRequest(msgspec.Struct, frozen=True, omit_defaults=True, tag="refund", tag_field="kind"):
    """An operator wants `amount` refunded, or all that is left of the payment."""

    id: str
    at: int
    amount: int | None = None
    detail: str | None = None


class RetryFrom(msgspec.Struct, frozen=True, omit_defaults=True, tag="retry", tag_field="kind"):
    """An operator wants the order to run again from this step on."""

    id: str
    at: int
    step: str


Fact: TypeAlias = PaymentFact | ShipmentFact | RefundRequest | RetryFrom
