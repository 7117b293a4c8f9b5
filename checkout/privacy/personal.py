"""The personal members of an order."""

from __future__ import annotations

import msgspec

from checkout.order import Address


class Personal(msgspec.Struct, frozen=True, omit_defaults=True):
    """The personal members of an order."""

    email: str
    shipping_address: Address
    payment_token: str
    owner: str | None = None
