"""Mails a shopper when an order is accepted, shipped, cancelled or refunded.

python examples/subscribers/notification_email.py --secret-file webhook-secret --admin-token-file var/admin-token
"""

from __future__ import annotations

import argparse

from mail import compose, deliver, money
from subscriber import Event, Handle, Order, run

TEXTS = {
    "shop.order.accepted.v1": ("We have your order {number}", "Thank you. We have your order {number} of {total}."),
    "shop.order.shipped.v1": ("Your order {number} is on its way", "Your order {number} has left our warehouse."),
    "shop.order.cancelled.v1": (
        "Your order {number} is cancelled",
        "Your order {number} is cancelled. You pay nothing.",
    ),
    "shop.order.refunded.v1": (
        "A refund for your order {number}",
        "We have paid back {refunded} for your order {number}.",
    ),
}


def handler(args: argparse.Namespace) -> Handle:
    """A function that mails."""

    def handle(event: Event, webhook_id: str, order: Order) -> None:
        subject, text = TEXTS[event["type"]]
        refunded = event["data"].get("refunded")
        words = {
            "number": order["number"],
            "total": money(order["total"]),
            "refunded": money(refunded) if refunded else "",
        }
        mail = compose(webhook_id, order["email"], subject.format(**words), text.format(**words) + "\n")
        deliver(mail, webhook_id, out=args.out, smtp=args.smtp)

    return handle


if __name__ == "__main__":
    run("Mail shoppers about their orders.", frozenset(TEXTS), handler)
