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
{discounts}<tr><td colspan="3">Shipping</td><td>{shipping}</td></tr>
{tax}<tr><th colspan="3">Total</th><th>{total}</th></tr>
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
    discounts = "".join(
        f'<tr><td colspan="3">{escape(each["name"])}</td><td>-{money(each["amount"])}</td></tr>\n'
        for each in order["discounts"]
    )
    # Absent in a shop without taxes.
    tax = order.get("tax")
    words = "" if tax is None else "Tax, included" if tax["included"] else "Tax"
    return PAGE.format(
        number=escape(order["number"]),
        date=event["time"][:10],
        lines=lines,
        discounts=discounts,
        shipping=money(order["shipping"]),
        tax="" if tax is None else f'<tr><td colspan="3">{words}</td><td>{money(tax["amount"])}</td></tr>\n',
        total=money(order["total"]),
    )


def handler(args: argparse.Namespace) -> Handle:
    """A function that writes the page to a file with the webhook's id as its name."""

    def handle(event: Event, webhook_id: str, order: Order) -> None:
        (args.out / f"{webhook_id}.html").write_text(invoice(event, order), encoding="utf-8")

    return handle


if __name__ == "__main__":
    run("Write invoices of completed orders.", TYPES, handler)
