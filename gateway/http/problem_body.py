"""The body of an error response (RFC 9457). The schema of the OpenAPI document is generated from these structs."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType, field

from cart.model import Money
from checkout.order_status import OrderStatus

_INT32 = {"format": "int32"}


class BodyFault(Struct, frozen=True):
    """A member of the request that is invalid or missing."""

    pointer: Annotated[str, Meta(description="The JSON pointer (RFC 6901) to the member; empty for the whole body.")]
    detail: Annotated[str, Meta(description="What it must be.")]


class ProblemLine(Struct, frozen=True):
    """A line that prevents a checkout: its price has changed from `was` to `now`, fewer units are available, or `remaining` to this shopper."""

    sku: Annotated[str, Meta(description="The SKU of the line.")]
    was: Money | UnsetType = UNSET
    now: Money | UnsetType = UNSET
    requested: (
        Annotated[int, Meta(description="The units that were to be ordered.", extra_json_schema=_INT32)] | UnsetType
    ) = UNSET
    available: (
        Annotated[
            int, Meta(description="The units for sale; absent where the shop hides it.", extra_json_schema=_INT32)
        ]
        | UnsetType
    ) = UNSET
    remaining: (
        Annotated[
            int,
            Meta(description="Of `shopper-limit`: the units that this shopper may order.", extra_json_schema=_INT32),
        ]
        | UnsetType
    ) = UNSET


class Problem(Struct, frozen=True, kw_only=True):
    """An error (RFC 9457 problem details). Members after `instance` are facts of some kinds of problems only."""

    type: Annotated[
        str, Meta(description="The kind of problem: the path of its page.", examples=["/problems/cart-not-found"])
    ]
    title: Annotated[str, Meta(description="The name of the kind.")]
    status: Annotated[int, Meta(description="The status of the response.", extra_json_schema=_INT32)]
    detail: Annotated[str, Meta(description="What happened, for people.")]
    instance: Annotated[str, Meta(description="The request id.")]
    errors: Annotated[list[BodyFault], Meta(description="Of `invalid-body` and `malformed-json`.")] | UnsetType = UNSET
    sku: Annotated[str, Meta(description="Of `product-not-found` and `line-not-found`.")] | UnsetType = UNSET
    limit: (
        Annotated[int, Meta(description="Of `cart-full` and `quantity-limit`.", extra_json_schema=_INT32)] | UnsetType
    ) = UNSET
    current_version: Annotated[int, Meta(description="Of `version-mismatch`.")] | UnsetType = UNSET
    order_id: Annotated[str, Meta(description="Of `cart-closed`, if the cart was ordered.")] | UnsetType = UNSET
    order_status: OrderStatus | UnsetType = UNSET
    home_region: Annotated[str, Meta(description="Of `order-elsewhere`.")] | UnsetType = UNSET
    lines: (
        Annotated[list[ProblemLine], Meta(description="Of `price-changed`, `out-of-stock` and `shopper-limit`.")]
        | UnsetType
    ) = UNSET
    total: Money | UnsetType = UNSET
    violated_policies: (
        Annotated[list[str], Meta(description="Of `quota-exceeded`: the names of the limits.")] | UnsetType
    ) = field(default=UNSET, name="violated-policies")
    may_have_run: (
        Annotated[
            bool,
            Meta(
                description="Of `dependency-unavailable` in the response to a write: true if the request may have taken "
                "effect although it failed. Absent: it has changed nothing."
            ),
        ]
        | UnsetType
    ) = UNSET
    position: (
        Annotated[int | None, Meta(description="Of `waiting-room` and `sold-out`: the position in the queue.")]
        | UnsetType
    ) = UNSET
    eta_seconds: (
        Annotated[float | None, Meta(description="Of `waiting-room`: the expected time until admission.")] | UnsetType
    ) = UNSET
    token: (
        Annotated[str | None, Meta(description="Of `waiting-room`: the place in the queue, for Waiting-Room-Token.")]
        | UnsetType
    ) = UNSET
