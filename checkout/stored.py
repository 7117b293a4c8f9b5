"""The keys of checkout in Redis, and the encoding of orders.

All keys of a cart and its order have the hash tag of the cart's partition, so that one script can change them atomically:

    {7f}o:<order id>   hash: `doc` the order as accepted (JSON), `status`, `state` the members that changed since (JSON),
                       `key` hash of the idempotency key, `body` fingerprint, `durable` 1 once as durable as promised
    {7f}l:<cart id>    the claim of a running checkout: "token version"; expires
    {7f}open-claims    hash: "cart id version" → time of the claim (ms) and the cart's SKUs, one a line
    {7f}fence          counter of claims
    {7f}outbox         stream of messages that the queue does not have yet: fields `order`, `message`

    i:<key hash>       fingerprint of the request with this idempotency key; expires
    {<sku>}p, {<sku>}h stock and holds of a SKU: see `scripts/hold.lua`
"""

from __future__ import annotations

from typing import Final

import msgspec

from cart.ids import PARTITIONS, partition_of
from cart.model import CartId, OrderId, Sku
from checkout.order import HistoryEntry, Order
from checkout.order_status import CancelReason, OrderStatus

ALL_PARTITIONS: Final = tuple(f"{number:02x}" for number in range(PARTITIONS))


class OrderState(msgspec.Struct, frozen=True, omit_defaults=True):
    """The members of an order that change."""

    status: OrderStatus
    updated_at: int
    history: tuple[HistoryEntry, ...]
    reason: CancelReason | None = None


encode_order: Final = msgspec.json.Encoder().encode
_decode_order: Final = msgspec.json.Decoder(Order).decode
_decode_state: Final = msgspec.json.Decoder(OrderState).decode


def encode_state(order: Order) -> bytes:
    """The members that change, in JSON."""
    return msgspec.json.encode(OrderState(order.status, order.updated_at, order.history, order.reason))


def decode_order(doc: bytes, state: bytes | None) -> Order:
    """The order in its current state; `state` is None while it is as accepted."""
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
    """The key of a partition's hash of open claims."""
    return f"{{{partition}}}open-claims"


def fence_key(partition: str) -> str:
    """The key of a partition's fence, the counter of its claims."""
    return f"{{{partition}}}fence"


def outbox_key(partition: str) -> str:
    """The key of a partition's outbox."""
    return f"{{{partition}}}outbox"


def idempotency_key(key_hash: str) -> str:
    """The key of an idempotency key's fingerprint."""
    return f"i:{key_hash}"


def product_key(sku: Sku) -> str:
    """The key of a product's hash; its field `stock` is the available quantity."""
    return f"{{{sku}}}p"


def holds_key(sku: Sku) -> str:
    """The key of the holds of a SKU, by order id."""
    return f"{{{sku}}}h"
