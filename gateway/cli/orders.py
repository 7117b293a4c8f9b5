"""`peakgate orders …`."""

from __future__ import annotations

import argparse

from gateway.cli import archive, dead_letters, mark, order_verbs, restore
from gateway.cli.parsers import Commands, Parser


def add_parser(commands: Commands) -> None:
    """Add `orders` and its verbs."""
    orders = commands.add_parser(
        "orders",
        help="look at orders and act on them",
        description=(
            "Look at orders and act on them, also while the gateway runs. The commands read the settings that `serve`\n"
            "reads, and use its store and its queue.\n\n"
            "Exit status: 0 done, 1 refused or not found, 64 wrong usage, 69 the store or the queue cannot be reached."
        ),
        epilog="example: peakgate orders list --state attention",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = orders.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    order_verbs.add_parsers(verbs)
    dead_letters.add_parser(verbs)
    mark.add_parser(verbs)
    archive.add_parser(verbs)
    restore.add_parser(verbs)
