"""The keys of checkout in Redis, and the encoding of orders.

All keys of a cart and its order have the hash tag of the cart's partition, so that one script can change them atomically:

    {7f}o:<order id>   hash: `doc` the order as accepted (`checkout.privacy.order_codec`), `status`, `state` the members that changed since (JSON),
                       `key` hash of the idempotency key, `body` fingerprint, `durable` 1 once as durable as promised;
                       `revision` of the state; `facts` those that are not applied yet, "id JSON" a line, and `fact-ids` of all,
                       one a line; `handed-over:<endpoint>` number of the last event that waits, or has waited, for an endpoint;
                       of its progress, where there is any: `lease` "holder expiry", `failures`, `deaths`,
                       `unanswered` "since runs status", `due` "time revision" if it is not to run sooner, `aside` "status since" if it needs a person
    {7f}l:<cart id>    the claim of a running checkout: "token version key body", the last two as in its order; expires
    {7f}open-claims    hash: "cart id version" → time of the claim (ms) and the cart's SKUs, one a line
    {7f}fence          counter of claims
    {7f}attention      hash: order id → "since reason" of the orders that need a person
    {7f}in-flight      sorted set: the orders that have not ended, or are not finished, by the time (ms) of their last sign of
                       life: accepted, sent to the queue, moved on
    {7f}status:<status> sorted set: the orders in this status, by the time (ms) since which they have it
    {7f}ended          sorted set: the orders that have ended and are finished, by the time (ms) of that
    {7f}outbox         stream of messages that the queue does not have yet: fields `order`, `message`
    {7f}events:<sink>  stream of events that a sink does not have yet: fields `order`, `number`
    {7f}events-claim:<sink>  the process that hands them on; expires
    {7f}webhooks:<endpoint>      hash: order id → attempts and event numbers of the messages that wait for the endpoint
    {7f}webhooks-due:<endpoint>  sorted set: those orders by the time (ms) at which the first message of each is due

    m:<hash of owner>  sorted set: the owner's order ids by the time they were accepted (ms)
    e:<hash of e-mail> sorted set: the same for an e-mail address; the hashes have a key (`checkout.privacy.pseudonyms`)
    n:<number>         set: the ids of the orders with this number
    webhook:<endpoint>      hash: `failures` of different orders in a row, the last `order`, failing `since`, `last` failure,
                            time of the next `probe` if it is down, `paused` until, why it is `disabled`, and `at`
                            which time; in ms
    webhook-log:<endpoint>  stream: field `attempt`, in JSON
    {<sku>}p, {<sku>}h, {<sku>}c stock of a SKU, its holds, and their changes: see `cart.sku_keys` and `scripts/hold.lua`
    {<sku>}b           hash: the units of each shopper, by order, and the shoppers of each order: see `scripts/purchases.lua`
    {<sku>}x           sorted set: names of the holds that carts have in {<sku>}h, by their end (ms): see `scripts/cart_hold.lua`
    {<sku>}r           sorted set: "order report" whose units of the SKU were put back, by the time (ms); of 30 days.
                       Earlier versions wrote the order alone: all its units
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from cart.ids import PARTITIONS, partition_of
from cart.model import CartId, OrderId
from checkout.facts import Fact
from checkout.order import Order
from checkout.order_state import OrderState
from checkout.order_status import OrderStatus

ALL_PARTITIONS: Final = tuple(f"{number:02x}" for number in range(PARTITIONS))


encode_order: Final = msgspec.json.Encoder().encode
encode_fact: Final = msgspec.json.Encoder().encode
_decode_order: Final = msgspec.json.Decoder(Order).decode
_decode_state: Final = msgspec.json.Decoder(OrderState).decode
_decode_fact: Final = msgspec.json.Decoder(Fact).decode


def encode_state(order: Order) -> bytes:
    """The members that change, in JSON."""
    return msgspec.json.encode(
        OrderState(
            order.status,
            order.updated_at,
            order.history,
            order.reason,
            shipment=order.shipment,
            payment=order.payment,
            restocked=order.restocked,
            line_returns=order.line_returns,
            revision=order.revision,
        )
    )


def without_tracking(state: bytes) -> bytes:
    """A state as `encode_state` makes it, without the tracking of the shipment."""
    members = _decode_state(state)
    if members.shipment is None:
        return state
    return msgspec.json.encode(msgspec.structs.replace(members, shipment=members.shipment.without_tracking()))


def decode_order(doc: bytes, state: bytes | None, facts: bytes | None = None) -> Order:
    """The order in its current state; `state` is None while it is as accepted, `facts` while there are none to apply."""
    order = _decode_order(doc)
    if state is not None:
        now = _decode_state(state)
        order = msgspec.structs.replace(
            order,
            status=now.status,
            updated_at=now.updated_at,
            history=now.history,
            reason=now.reason,
            shipment=now.shipment,
            payment=now.payment,
            restocked=now.restocked,
            line_returns=now.line_returns,
            revision=now.revision or len(now.history),
        )
    return order if not facts else msgspec.structs.replace(order, facts=_decode_facts(facts))


def _decode_facts(lines: bytes) -> tuple[Fact, ...]:
    return tuple(_decode_fact(line.partition(b" ")[2]) for line in lines.splitlines())


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


def attention_key(partition: str) -> str:
    """The key of a partition's hash of orders that need a person."""
    return f"{{{partition}}}attention"


def ended_key(partition: str) -> str:
    """The key of a partition's orders that have ended."""
    return f"{{{partition}}}ended"


def outbox_key(partition: str) -> str:
    """The key of a partition's outbox."""
    return f"{{{partition}}}outbox"


def events_key(partition: str, sink: str) -> str:
    """The key of a partition's events for a sink."""
    return f"{{{partition}}}events:{sink}"


def event_claim_key(partition: str, sink: str) -> str:
    """The key of the claim of a partition's events for a sink."""
    return f"{{{partition}}}events-claim:{sink}"


def webhook_queue_key(partition: str, endpoint: str) -> str:
    """The key of the messages of a partition's orders that wait for an endpoint."""
    return f"{{{partition}}}webhooks:{endpoint}"


def webhook_due_key(partition: str, endpoint: str) -> str:
    """The key of a partition's orders with messages for an endpoint, by the time that they are due."""
    return f"{{{partition}}}webhooks-due:{endpoint}"


def handed_over_field(endpoint: str) -> str:
    """The field of an order's hash with the number of the last event that was handed over to an endpoint."""
    return f"handed-over:{endpoint}"


def webhook_state_key(endpoint: str) -> str:
    """The key of the state of an endpoint."""
    return f"webhook:{endpoint}"


def webhook_log_key(endpoint: str) -> str:
    """The key of the delivery log of an endpoint."""
    return f"webhook-log:{endpoint}"


def orders_of_owner_key(owner_hash: str) -> str:
    """The key of the sorted set of a signed-in shopper's order ids, by time."""
    return f"m:{owner_hash}"


def unkeyed_orders_of_owner_key(owner: str) -> str:
    """The key of the same set as earlier versions wrote it, with a hash without a key."""
    return f"m:{hashlib.sha256(f'owner:{owner}'.encode(errors='surrogatepass')).hexdigest()[:32]}"


def orders_of_email_key(email_hash: str) -> str:
    """The key of the sorted set of the ids of an e-mail address's orders, by time."""
    return f"e:{email_hash}"


def number_key(number: str) -> str:
    """The key of the set of order ids that have this number."""
    return f"n:{number}"


def status_key(partition: str, status: OrderStatus) -> str:
    """The key of a partition's orders in this status."""
    return f"{{{partition}}}status:{status.value}"


def in_flight_key(partition: str) -> str:
    """The key of a partition's orders in flight."""
    return f"{{{partition}}}in-flight"
