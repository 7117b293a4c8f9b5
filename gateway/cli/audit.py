"""`peakgate audit`."""

from __future__ import annotations

import argparse
from typing import Final

from gateway.cli.messages import say
from gateway.cli.parsers import STORE_TLS, Commands, add_settings, positive, read_settings

SETTINGS: Final = ("config", "data_dir", "store_url", *STORE_TLS, "log_format", "log_level")
_RATE: Final = 1000


def add_parser(commands: Commands) -> None:
    """Add `audit`."""
    audit = commands.add_parser(
        "audit",
        help="prove that orders, stock and money agree",
        description=(
            "Prove the books from the store alone, also while the gateway runs: every accepted order is completed, cancelled,\n"
            "in flight or set aside; it has its holds until it ended, the record of its payment and its history; lists and\n"
            "orders agree; no more is refunded than was captured; nothing waits for longer than its bound. Each order that\n"
            "breaks a rule is named, with the rule and what to do. The command changes nothing.\n\n"
            "What seems wrong is looked at again 5 s later, and reported if it still is: orders are in motion.\n\n"
            "Exit status: 0 the books agree, 1 something breaks a rule, 64 wrong usage, 69 the store cannot be reached."
        ),
        epilog="example: peakgate audit --rate 500 --json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    audit.add_argument(
        "--rate",
        type=positive(100_000),
        default=_RATE,
        metavar="COUNT",
        help="orders, holds and waiting records that are read a second, at most (default: 1000)",
    )
    audit.add_argument(
        "--stuck-after",
        type=positive(86_400 * 30),
        metavar="SECONDS",
        help="how long an order in flight may show no sign of life, such as in a long queue (default: audit_stuck_after)",
    )
    audit.add_argument("--json", action="store_true", help="print JSON")
    add_settings(audit, SETTINGS)
    audit.set_defaults(run=_audit)


def _audit(args: argparse.Namespace) -> int:
    from gateway.commands.audit import audit_books

    settings = read_settings(args)
    stuck_after_s = args.stuck_after or settings.audit_stuck_after
    return audit_books(settings, rate=args.rate, stuck_after_s=stuck_after_s, as_json=args.json, say=say)
