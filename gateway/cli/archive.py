"""`peakgate orders archive`."""

from __future__ import annotations

import argparse
from typing import Final

from gateway.cli.dead_letters import SETTINGS
from gateway.cli.messages import say
from gateway.cli.parsers import Commands, add_settings, positive, read_settings

_RATE: Final = 500.0


def add_parser(verbs: Commands) -> None:
    """Add `archive`."""
    archiving = verbs.add_parser(
        "archive",
        help="archive the orders that the archive lacks",
        description=(
            "Archive the orders of the store that the archive lacks, such as those that ended before there was an archive;\n"
            "without it they are archived only when they leave the store. It may run beside the gateway, and again: an order\n"
            "that the archive has is left alone. An interrupted run prints a cursor, and --after goes on from it, on the same\n"
            "store server; after a failover run it from the start."
        ),
        epilog="example: peakgate orders archive --rate 200",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    archiving.add_argument(
        "--rate", type=positive(100_000), default=_RATE, metavar="COUNT", help="orders a second at most (default: 500)"
    )
    archiving.add_argument("--after", metavar="CURSOR", help="go on where an interrupted run says that it stopped")
    add_settings(archiving, SETTINGS)
    archiving.set_defaults(run=_archive)


def _archive(args: argparse.Namespace) -> int:
    from gateway.commands.archive_orders import archive_orders

    return archive_orders(read_settings(args), rate=args.rate, cursor=args.after, say=say)
