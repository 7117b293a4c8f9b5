"""Remedies of findings: commands of `peakgate`, or of the store where there is none."""

from __future__ import annotations

from typing import Final

from cart.coupons import code_of, is_coupon
from cart.ids import partition_of
from cart.model import OrderId, Sku
from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.stored import in_flight_key, status_key

# The first step that leads on from each status.
_STEPS: Final = {
    OrderStatus.ACCEPTED: "confirm_stock",
    OrderStatus.STOCK_CONFIRMED: "authorise_payment",
    OrderStatus.PAYMENT_AUTHORISED: "arrange_shipping",
    OrderStatus.SHIPPING_ARRANGED: "capture_payment",
}


def run_again(order: Order) -> str:
    """Have a worker run the order; one that has ended is put in flight, where the finder of stuck orders finds it."""
    if (step := _STEPS.get(order.status)) is not None:
        return f"peakgate orders retry {order.id} --from {step}"
    return f"valkey-cli ZADD '{in_flight_key(partition_of(order.id))}' 1 {order.id}"


def restore(order_id: OrderId) -> str:
    """Take the order, and its entries in the indexes, from the archive."""
    return f"peakgate orders restore --order {order_id}"


def show(order_id: OrderId) -> str:
    """Look at the order: a person decides."""
    return f"peakgate orders show {order_id}"


def move(order: Order, listed: tuple[OrderStatus, ...]) -> str:
    """Move the order to the list of its status."""
    partition = partition_of(order.id)
    wrong = [
        f"valkey-cli ZREM '{status_key(partition, each)}' {order.id}" for each in listed if each is not order.status
    ]
    right = f"valkey-cli ZADD '{status_key(partition, order.status)}' {order.updated_at} {order.id}"
    return " && ".join([right, *wrong])


def count(sku: Sku) -> str:
    """The command that sets the units of a SKU, or the uses of a coupon."""
    if is_coupon(sku):
        return f"count it: peakgate coupons uses {code_of(sku)} --set COUNT"
    return f"count it: peakgate stock set {sku!r} UNITS"
