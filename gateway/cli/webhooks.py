"""`peakgate webhooks list|deliveries|redeliver|enable|disable|new-secret`."""

from __future__ import annotations

import argparse
import sys

from gateway.cli.messages import say
from gateway.cli.parsers import EX_USAGE, STORE_TLS, Commands, Parser, finish, positive, read_settings

# Where the endpoints are named, and where their messages are stored.
SETTINGS = ("config", "data_dir", "store_url", *STORE_TLS, "durability", "log_format", "log_level")


def add_parser(commands: Commands) -> None:
    """Add `webhooks` and its verbs."""
    webhooks = commands.add_parser(
        "webhooks",
        help="look at webhooks and deliver them again",
        description=(
            "Look at the webhooks that are sent to the endpoints of peakgate.toml, and deliver them again, also while the\n"
            "gateway runs. It sends what is due within seconds.\n\n"
            "Exit status: 0 done, 1 refused or not found, 64 wrong usage, 69 the store cannot be reached."
        ),
        epilog="example: peakgate webhooks redeliver crm --since 2026-11-27T06:00:00Z",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    acts = webhooks.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    _add_list(acts)
    _add_deliveries(acts)
    _add_redeliver(acts)
    _add_switch(acts, "enable", "send to an endpoint that is disabled again")
    _add_switch(acts, "disable", "send nothing to an endpoint until it is enabled")
    secret = acts.add_parser(
        "new-secret",
        help="print a new secret",
        description="Print a secret to sign webhooks with, for the file of secrets and for the receiver.",
        epilog="example: peakgate webhooks new-secret > webhook-secret",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    secret.set_defaults(run=_new_secret)


def _add_list(acts: Commands) -> None:
    listing = acts.add_parser(
        "list",
        help="list the endpoints, their states and what waits",
        description=(
            "List the endpoints. State: open; down (a probe a minute); paused (as it asked with Retry-After); or, if it is\n"
            "disabled, failing, gone (it answered 410) or stopped (by an operator)."
        ),
        epilog="example: peakgate webhooks list --json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    finish(listing, _list, SETTINGS, has_json=True)


def _add_deliveries(acts: Commands) -> None:
    deliveries = acts.add_parser(
        "deliveries",
        help="show the delivery log of an endpoint",
        description="Show the latest attempts to deliver webhooks to an endpoint, the latest first.",
        epilog="example: peakgate webhooks deliveries crm --limit 50",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    deliveries.add_argument("endpoint", metavar="ENDPOINT", help="its name in peakgate.toml")
    deliveries.add_argument("--limit", type=positive(1000), default=20, metavar="COUNT", help="1 to 1000 (default: 20)")
    deliveries.add_argument("--since", metavar="TIME", help="a time with its zone, such as 2026-11-27T06:00:00Z")
    finish(deliveries, _deliveries, SETTINGS, has_json=True)


def _add_redeliver(acts: Commands) -> None:
    redelivering = acts.add_parser(
        "redeliver",
        help="deliver webhooks again",
        description=(
            "Deliver one webhook again, or those whose last attempt since a time was no delivery. They come with the ids\n"
            "that they had, so a receiver recognises those that it knows."
        ),
        epilog="example: peakgate webhooks redeliver crm --since 2026-11-27T06:00:00Z",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    redelivering.add_argument("endpoint", metavar="ENDPOINT", help="its name in peakgate.toml")
    redelivering.add_argument("id", nargs="?", metavar="ID", help="of one webhook, as `deliveries` shows it")
    redelivering.add_argument("--since", metavar="TIME", help="a time with its zone, such as 2026-11-27T06:00:00Z")
    redelivering.add_argument("--all", action="store_true", help="with --since: also those that were delivered")
    finish(redelivering, _redeliver, SETTINGS)


def _add_switch(acts: Commands, verb: str, text: str) -> None:
    switching = acts.add_parser(
        verb,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"example: peakgate webhooks {verb} crm",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    switching.add_argument("endpoint", metavar="ENDPOINT", help="its name in peakgate.toml")
    finish(switching, _switch, SETTINGS)
    switching.set_defaults(is_enabled=verb == "enable")


def _list(args: argparse.Namespace) -> int:
    from gateway.commands.webhooks import list_endpoints

    return list_endpoints(read_settings(args), as_json=args.json, say=say)


def _deliveries(args: argparse.Namespace) -> int:
    from gateway.commands.webhooks import list_deliveries

    return list_deliveries(
        read_settings(args), args.endpoint, limit=args.limit, since=args.since, as_json=args.json, say=say
    )


def _redeliver(args: argparse.Namespace) -> int:
    from gateway.commands.webhooks import redeliver

    if (args.id is None) == (args.since is None) or (args.all and args.since is None):
        say("name one webhook by its id, or all of them by --since TIME")
        return EX_USAGE
    return redeliver(read_settings(args), args.endpoint, args.id, since=args.since, delivered_too=args.all, say=say)


def _switch(args: argparse.Namespace) -> int:
    from gateway.commands.webhooks import switch_endpoint

    return switch_endpoint(read_settings(args), args.endpoint, is_enabled=args.is_enabled, say=say)


def _new_secret(_args: argparse.Namespace) -> int:
    from primitives.webhook_signature import new_secret

    sys.stdout.write(f"{new_secret()}\n")
    return 0
