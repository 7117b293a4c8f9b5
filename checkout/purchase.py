"""A validated checkout request, and the order placed for it."""

from __future__ import annotations

import msgspec

from checkout.order import Order
from checkout.ports.orders import Claim
from checkout.request import CheckoutRequest


class Purchase(msgspec.Struct, frozen=True, kw_only=True):
    """A validated checkout request with its claim; `shipping_method` is one of the shop's."""

    request: CheckoutRequest
    claim: Claim
    shipping_method: str


class PlacedOrder(msgspec.Struct, frozen=True):
    """An order that was accepted now or, if `replayed`, by an earlier request with the same key and body."""

    order: Order
    replayed: bool

    def to_json(self) -> bytes:
        """The order as it was accepted, so that a replay has the same bytes in every later status of the order."""
        return (self.order.as_accepted() if self.replayed else self.order).to_json()
