"""`peakgate orders mark shipped|delivered|returned`."""

from __future__ import annotations

import argparse

from cart.model import Sku
from gateway.cli.dead_letters import SETTINGS
from gateway.cli.messages import say
from gateway.cli.parsers import Commands, add_settings, read_settings


def add_parser(verbs: Commands) -> None:
    """Add `mark`."""
    marking = verbs.add_parser(
        "mark",
        help="report what became of a shipment",
        description=(
            "Mark an order as shipped, delivered or returned, where no carrier's webhook does. A worker applies it within\n"
            "seconds; an order that is not completed yet is marked once it is. The command may be repeated: it has one effect."
        ),
        epilog="example: peakgate orders mark shipped 7KQ3M-XP4RT --carrier 'Royal Mail' --tracking AB123456789GB",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    marking.add_argument("status", choices=("shipped", "delivered", "returned"), help="what became of it")
    marking.add_argument("order", metavar="ORDER", help="the number or the id of the order")
    marking.add_argument("--carrier", metavar="NAME", help="the carrier, for the shopper")
    marking.add_argument("--tracking", metavar="NUMBER", help="the tracking number, for the shopper")
    marking.add_argument("--tracking-url", metavar="URL", help="where the shopper follows the shipment")
    marking.add_argument("--restock", action="store_true", help="put the goods of a returned order back into stock")
    marking.add_argument(
        "--line",
        metavar="SKU=QUANTITY",
        dest="lines",
        type=returned_line,
        action="append",
        default=[],
        help="units that came back, if not all of the order; may be repeated",
    )
    marking.add_argument("--return-id", metavar="ID", help="your name of this return of lines: one ID is one return")
    add_settings(marking, SETTINGS)
    marking.set_defaults(run=_mark)


def returned_line(text: str) -> tuple[Sku, int]:
    """Parse the SKU and quantity of a `--line`; raises `ArgumentTypeError`."""
    # A SKU may have the sign in it.
    sku, _, quantity = text.rpartition("=")
    if not sku or not (quantity.isascii() and quantity.isdecimal() and len(quantity) < 10):
        raise argparse.ArgumentTypeError(f"{text!r} is not SKU=QUANTITY")
    return Sku(sku), int(quantity)


def _mark(args: argparse.Namespace) -> int:
    from checkout.facts import ReturnedLine
    from checkout.shipping.desk import ShipmentMark
    from gateway.commands.mark_order import mark_order

    mark = ShipmentMark(
        status=args.status,
        carrier=args.carrier,
        tracking=args.tracking,
        tracking_url=args.tracking_url,
        restock=args.restock,
        lines=tuple(ReturnedLine(sku, quantity) for sku, quantity in args.lines),
        return_id=args.return_id,
    )
    return mark_order(read_settings(args), args.order, mark, say=say)
