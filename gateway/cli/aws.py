"""`peakgate aws bootstrap`."""

from __future__ import annotations

import argparse
import re

from gateway.cli.messages import say
from gateway.cli.parsers import Commands, Parser, add_settings, read_settings

_SETTINGS = ("config", "aws_endpoint_url", "aws_region", "log_format", "log_level")


def add_parser(commands: Commands) -> None:
    """Add `aws` and its verbs."""
    aws = commands.add_parser("aws", help="resources of AWS", description="Resources of AWS that Peakgate can use.")
    verbs = aws.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    making = verbs.add_parser(
        "bootstrap",
        help="make queues, topic, table and key for a trial",
        description=(
            "Make the resources of AWS for a trial, and print the settings that use them: an order queue and one for its\n"
            "dead letters, a topic of order events, a table of the archive, and a key for personal data. What is there\n"
            "already is used as it is. For production, take your own templates: docs/queues.md has what they need."
        ),
        epilog=(
            "example: peakgate aws bootstrap --aws-endpoint-url http://127.0.0.1:4566 --aws-region eu-west-2 >> peakgate.toml"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    making.add_argument(
        "--prefix", type=_prefix, default="peakgate", metavar="NAME", help="how their names begin (default: peakgate)"
    )
    making.add_argument("--fifo", action="store_true", help="make FIFO queues, in which a drop delays other orders")
    making.add_argument("--on-aws", action="store_true", help="make them in the account of the credentials")
    add_settings(making, _SETTINGS)
    making.set_defaults(run=_bootstrap)


def _prefix(text: str) -> str:
    # The name of a queue has 80 characters at most.
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,59}", text):
        raise argparse.ArgumentTypeError("must be a letter, and up to 59 letters, digits, hyphens and underscores")
    return text


def _bootstrap(args: argparse.Namespace) -> int:
    from gateway.commands.aws import make_trial

    return make_trial(read_settings(args), args.prefix, is_fifo=args.fifo, is_on_aws=args.on_aws, show=print, say=say)
