"""The response bodies of the protocol: a session with its lines, totals and messages, and the order it became."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from checkout.agents.bodies import Buyer, FulfillmentDetails

VERSION: Final = "2026-04-17"
NOTHING: Final[dict[str, Any]] = {}


class Total(msgspec.Struct, frozen=True):
    """An amount in minor units, named for people."""

    type: Literal[
        "items_base_amount", "items_discount", "subtotal", "discount", "fulfillment", "tax", "total", "amount_refunded"
    ]
    display_text: str
    amount: int


class ItemView(msgspec.Struct, frozen=True):
    """A product."""

    id: str
    name: str
    unit_amount: int


class LineItemView(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the session; its `id` is that of the item, of which a session has one line."""

    id: str
    item: ItemView
    quantity: int
    name: str
    sku: str
    unit_amount: int
    availability_status: Literal["in_stock", "out_of_stock"]
    available_quantity: int | UnsetType = UNSET
    totals: list[Total]


class FulfillmentOption(msgspec.Struct, frozen=True):
    """A shipping method of the shop."""

    id: str
    title: str
    totals: list[Total]
    type: Literal["shipping"] = "shipping"


class SelectedOptionView(msgspec.Struct, frozen=True):
    """The shipping method of all items."""

    option_id: str
    item_ids: list[str]
    type: Literal["shipping"] = "shipping"


class Message(msgspec.Struct, frozen=True):
    """What keeps the session from being completed (`error`), or what the shopper should know (`warning`)."""

    type: Literal["error", "warning"]
    code: Literal["missing", "invalid", "not_found", "out_of_stock", "price_change", "quantity_exceeded"]
    content: str
    param: str
    content_type: Literal["plain"] = "plain"


class Protocol(msgspec.Struct, frozen=True):
    """The version of the protocol."""

    version: str = VERSION


class Quantity(msgspec.Struct, frozen=True):
    """How many units were ordered, are still, and have been shipped."""

    ordered: int
    current: int
    fulfilled: int


class OrderLineItem(msgspec.Struct, frozen=True):
    """A line of the order."""

    id: str
    title: str
    quantity: Quantity
    unit_price: int
    subtotal: int
    status: Literal["processing", "fulfilled", "removed"]


class Adjustment(msgspec.Struct, frozen=True):
    """A refund."""

    id: str
    occurred_at: str
    amount: int
    currency: str
    type: Literal["refund"] = "refund"
    status: Literal["completed"] = "completed"


class OrderView(msgspec.Struct, frozen=True, kw_only=True):
    """The order that the session became."""

    type: Literal["order"] = "order"
    id: str
    checkout_session_id: str
    order_number: str
    permalink_url: str
    status: str
    line_items: list[OrderLineItem]
    adjustments: list[Adjustment]
    totals: list[Total]


class SessionView(msgspec.Struct, frozen=True, kw_only=True):
    """A session. `is_replay`, which is no member of the body: an earlier call with the same key made the change."""

    id: str
    protocol: Protocol = Protocol()
    status: Literal["not_ready_for_payment", "ready_for_payment", "completed", "canceled"]
    currency: str
    buyer: Buyer | UnsetType = UNSET
    line_items: list[LineItemView]
    fulfillment_details: FulfillmentDetails | UnsetType = UNSET
    fulfillment_options: list[FulfillmentOption]
    selected_fulfillment_options: list[SelectedOptionView]
    totals: list[Total]
    messages: list[Message]
    links: list[Any] = msgspec.field(default_factory=list)
    capabilities: dict[str, Any]
    created_at: str
    updated_at: str
    expires_at: str
    order: OrderView | UnsetType = UNSET

    def to_json(self) -> bytes:
        """The response body."""
        return msgspec.json.encode(self)
