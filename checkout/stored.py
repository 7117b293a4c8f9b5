"""What a checkout keeps in Redis, under which keys, and how an order is written there.

Everything about a cart lies under the hash tag of its partition, so that one script can change it as one:

    {7f}o:<order id>   hash: `doc` the order as it was accepted (JSON), `status`, `state` what has changed since (JSON),
                       `key` and `body` stand for the idempotency key and the body, `durable` 1 once durable as promised
    {7f}l:<cart id>    the claim of a running checkout: "token version"; runs out by itself
    {7f}claims         hash: "cart id version" → when it was claimed (ms) and the cart's SKUs, one a line; until the claim's end
    {7f}fence          counter of claims
    {7f}outbox         stream of messages that the queue does not have yet: fields `order`, `message`

    i:<key hash>       fingerprint of the body that an idempotency key came with
    {<sku>}p, {<sku>}h stock of a SKU and holds of it: see `scripts/hold.lua`
"""

from __future__ import annotations

from typing import Final

import msgspec

from cart.model import PARTITIONS, CartId, OrderId, Sku, partition_of
from checkout.order import CancelReason, HistoryEntry, Order, OrderStatus

ALL_PARTITIONS: Final = tuple(f"{number:02x}" for number in range(PARTITIONS))


class OrderState(msgspec.Struct, frozen=True, omit_defaults=True):
    """The part of an order that changes."""

    status: OrderStatus
    updated_at: int
    history: tuple[HistoryEntry, ...]
    reason: CancelReason | None = None


encode_order: Final = msgspec.json.Encoder().encode
_decode_order: Final = msgspec.json.Decoder(Order).decode
_decode_state: Final = msgspec.json.Decoder(OrderState).decode


def encode_state(order: Order) -> bytes:
    """What is kept of an order that has moved on."""
    return msgspec.json.encode(OrderState(order.status, order.updated_at, order.history, order.reason))


def decode_order(doc: bytes, state: bytes | None) -> Order:
    """The order as it stands."""
    order = _decode_order(doc)
    if state is None:
        return order
    now = _decode_state(state)
    return msgspec.structs.replace(
        order, status=now.status, updated_at=now.updated_at, history=now.history, reason=now.reason
    )


def order_key(order_id: OrderId) -> str:
    """The key of an order's hash."""
    return f"{{{partition_of(order_id)}}}o:{order_id}"


def claim_key(cart_id: CartId) -> str:
    """The key of the claim of a cart."""
    return f"{{{partition_of(cart_id)}}}l:{cart_id}"


def open_claims_key(partition: str) -> str:
    """The key of a partition's hash of claims that have not told their end."""
    return f"{{{partition}}}claims"


def fence_key(partition: str) -> str:
    """The key of a partition's counter of claims."""
    return f"{{{partition}}}fence"


def outbox_key(partition: str) -> str:
    """The key of a partition's outbox."""
    return f"{{{partition}}}outbox"


def idempotency_key(key_hash: str) -> str:
    """The key that remembers an idempotency key."""
    return f"i:{key_hash}"


def product_key(sku: Sku) -> str:
    """The key of a product's hash, in whose field `stock` is what is available."""
    return f"{{{sku}}}p"


def holds_key(sku: Sku) -> str:
    """The key of the holds of a SKU, by order id."""
    return f"{{{sku}}}h"
