"""The request bodies of the protocol. Members that the shop does not use are ignored, as the protocol wants."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

_Text = Annotated[str, Meta(max_length=200)]
_Email = Annotated[str, Meta(max_length=254)]


class Item(msgspec.Struct, frozen=True):
    """An item by its `id`, which is the SKU of a product."""

    id: Annotated[str, Meta(min_length=1, max_length=256)]


class LineItem(msgspec.Struct, frozen=True):
    """A quantity of an item. Its `id` and prices are the shop's to say."""

    item: Item
    quantity: Annotated[int, Meta(ge=1)]


class Address(msgspec.Struct, frozen=True, omit_defaults=True):
    """A postal address; `country` is ISO 3166-1 alpha-2."""

    name: _Text = ""
    line_one: _Text = ""
    line_two: _Text = ""
    city: _Text = ""
    state: Annotated[str, Meta(max_length=50)] = ""
    country: Annotated[str, Meta(max_length=2)] = ""
    postal_code: Annotated[str, Meta(max_length=20)] = ""


class FulfillmentDetails(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where to ship, and whom to tell."""

    name: _Text | None = None
    phone_number: Annotated[str, Meta(max_length=50)] | None = None
    email: _Email | None = None
    address: Address | None = None


class Buyer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The shopper that the agent acts for."""

    email: _Email
    first_name: _Text | None = None
    last_name: _Text | None = None
    full_name: _Text | None = None
    phone_number: Annotated[str, Meta(max_length=50)] | None = None


class SelectedOption(msgspec.Struct, frozen=True):
    """The shipping method that the shopper has chosen."""

    option_id: Annotated[str, Meta(max_length=64)]


class CreateSession(msgspec.Struct, frozen=True):
    """The body of a session's creation."""

    line_items: Annotated[list[LineItem], Meta(min_length=1, max_length=1000)]
    currency: Annotated[str, Meta(min_length=3, max_length=3)]
    buyer: Buyer | None = None
    fulfillment_details: FulfillmentDetails | None = None


class UpdateSession(msgspec.Struct, frozen=True):
    """The body of an update: members that are absent stay as they are; line items replace those before."""

    line_items: Annotated[list[LineItem], Meta(max_length=1000)] | None = None
    buyer: Buyer | None = None
    fulfillment_details: FulfillmentDetails | None = None
    selected_fulfillment_options: Annotated[list[SelectedOption], Meta(max_length=1000)] | None = None


class Credential(msgspec.Struct, frozen=True):
    """The token of a means of payment, such as a shared payment token."""

    token: Annotated[str, Meta(min_length=1, max_length=255)]

    def __repr__(self) -> str:  # without the token, for logs
        return "Credential(token=...)"


class Instrument(msgspec.Struct, frozen=True):
    """A means of payment."""

    credential: Credential


class PaymentData(msgspec.Struct, frozen=True):
    """How the shopper pays. The shop takes tokens only, so a purchase order number alone is not enough."""

    instrument: Instrument


class CompleteSession(msgspec.Struct, frozen=True):
    """The body of a session's completion."""

    payment_data: PaymentData
    buyer: Buyer | None = None
