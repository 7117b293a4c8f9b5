"""Writes an invoice, an HTML page, when an order is completed.

python examples/subscribers/invoice.py --secret-file webhook-secret --admin-token-file var/admin-token --out invoices
"""

from __future__ import annotations

import argparse
from html import escape

from mail import money
from subscriber import Event, Handle, Order, run

TYPES = frozenset({"shop.order.completed.v1"})
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Invoice {number}</title>
<h1>Invoice {number}</h1>
<p>{date}</p>
<table>
<tr><th>Item</th><th>Quantity</th><th>Price</th><th>Total</th></tr>
{lines}
<tr><td colspan="3">Shipping</td><td>{shipping}</td></tr>
<tr><th colspan="3">Total</th><th>{total}</th></tr>
</table>
</html>
"""


def invoice(event: Event, order: Order) -> str:
    """The page."""
    lines = "\n".join(
        f"<tr><td>{escape(line['name'])}</td><td>{line['quantity']}</td>"
        f"<td>{money(line['unit_price'])}</td><td>{money(line['total'])}</td></tr>"
        for line in order["lines"]
    )
    return PAGE.format(
        number=escape(order["number"]),
        date=event["time"][:10],
        lines=lines,
        shipping=money(order["shipping"]),
        total=money(order["total"]),
    )


def handler(args: argparse.Namespace) -> Handle:
    """A function that writes the page to a file with the webhook's id as its name."""

    def handle(event: Event, webhook_id: str, order: Order) -> None:
        (args.out / f"{webhook_id}.html").write_text(invoice(event, order), encoding="utf-8")

    return handle


if __name__ == "__main__":
    run("Write invoices of completed orders.", TYPES, handler)
