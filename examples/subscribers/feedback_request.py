"""Asks a shopper how it went, once an order is delivered.

python examples/subscribers/feedback_request.py --secret-file webhook-secret --admin-token-file var/admin-token
"""

from __future__ import annotations

import argparse

from mail import compose, deliver
from subscriber import Event, Handle, Order, run

TYPES = frozenset({"shop.order.delivered.v1"})


def handler(args: argparse.Namespace) -> Handle:
    """A function that mails."""

    def handle(_event: Event, webhook_id: str, order: Order) -> None:
        names = ", ".join(line["name"] for line in order["lines"][:3])
        text = f"Your order {order['number']} ({names}) has arrived. How do you like it?\n"
        mail = compose(webhook_id, order["email"], f"How was your order {order['number']}?", text)
        deliver(mail, webhook_id, out=args.out, smtp=args.smtp)

    return handle


if __name__ == "__main__":
    run("Ask for feedback on delivered orders.", TYPES, handler)
