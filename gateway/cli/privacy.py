"""`peakgate privacy …`."""

from __future__ import annotations

import argparse
import sys

from gateway.cli.messages import say
from gateway.cli.parsers import STORE_TLS, Commands, Parser, add_settings, read_settings

_SETTINGS = (
    "config", "data_dir", "store_url", *STORE_TLS, "key_file", "kms_key", "queue_url", "aws_endpoint_url", "aws_region",
    "log_format", "log_level",
)  # fmt: skip


def add_parser(commands: Commands) -> None:
    """Add `privacy` and its verbs."""
    privacy = commands.add_parser(
        "privacy",
        help="erase shoppers, rotate the keys of personal data",
        description=(
            "Personal data of orders: its erasure and its keys, also while the gateway runs. The commands read the settings\n"
            "that `serve` reads. docs/privacy.md has the places where it is stored.\n\n"
            "Exit status: 0 done, 64 wrong usage, 69 the store, the archive or the keys cannot be used."
        ),
        epilog="example: peakgate privacy erase --owner auth0|5f7c8ec7",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = privacy.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    _add_erase(verbs)
    _add_rotate(verbs)
    _add_status(verbs)


def _add_erase(verbs: Commands) -> None:
    erasing = verbs.add_parser(
        "erase",
        help="erase the personal data of a shopper",
        description=(
            "Erase the personal data of all orders of a signed-in shopper, or with an e-mail address, and the shopper's\n"
            "carts. Lines, totals, history and money of the orders stay. An order in flight is erased by the workers once\n"
            "it has ended. The command may be repeated, also after it was killed."
        ),
        epilog="example: peakgate privacy erase --email - < address.txt",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    who = erasing.add_mutually_exclusive_group(required=True)
    who.add_argument("--owner", metavar="SUBJECT", help="subject of the shopper's access token; - reads it from stdin")
    who.add_argument("--email", metavar="ADDRESS", help="e-mail address of orders, in any case; - reads it from stdin")
    add_settings(erasing, _SETTINGS)
    erasing.set_defaults(run=_erase)


def _add_rotate(verbs: Commands) -> None:
    rotating = verbs.add_parser(
        "rotate",
        help="seal all orders with a new key",
        description=(
            "Add a key to the key file, make it the current one, and seal all orders with it. Gateways that run use it within\n"
            "seconds. Gateways on several hosts need the key before it is used: add it with --prepare, bring the file to every\n"
            "host, and rotate then. With --kms-key, all orders are sealed with that key.\n"
            "Older keys stay in the file, for backups."
        ),
        epilog="example: peakgate privacy rotate --data-dir ./data",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    rotating.add_argument("--prepare", action="store_true", help="only add the key to the file")
    add_settings(rotating, _SETTINGS)
    rotating.set_defaults(run=_rotate)


def _add_status(verbs: Commands) -> None:
    showing = verbs.add_parser(
        "status",
        help="show the keys in use and the erasures that wait",
        description="Show the names of the keys that orders of the store are sealed with, and how many erasures wait.",
        epilog="example: peakgate privacy status --data-dir ./data",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_settings(showing, _SETTINGS)
    showing.set_defaults(run=_status)


def _erase(args: argparse.Namespace) -> int:
    from checkout.ports.order_index import Shopper
    from gateway.commands.privacy import erase

    by, name = ("owner", args.owner) if args.owner is not None else ("email", args.email)
    if name == "-":
        name = sys.stdin.readline().strip()
    return erase(read_settings(args), Shopper("owner" if by == "owner" else "email", name), say=say)


def _rotate(args: argparse.Namespace) -> int:
    from gateway.commands.privacy import rotate

    return rotate(read_settings(args), prepare=args.prepare, say=say)


def _status(args: argparse.Namespace) -> int:
    from gateway.commands.privacy import status

    return status(read_settings(args), say=say)
