"""The command line: `peakgate serve`, `config …`, `catalog …`, `stock …`, `prices …`, `coupons …`, `orders …`, `audit`, `store …`, `workflow export`, `aws bootstrap`, `review`, `replay`.

Exit codes: 0 success, 1 it did not work, 64 wrong usage or settings, 69 something that it needs cannot be reached (sysexits.h).
Each failure is one line on standard error.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Final

from gateway.build import MODE, VERSION, StaleBuild, check_build
from gateway.cli import (
    audit,
    aws,
    catalog,
    config,
    coupons,
    orders,
    prices,
    privacy,
    replay,
    review,
    serve,
    stock,
    store,
    webhooks,
    workflow,
)
from gateway.cli.messages import fail, say
from gateway.cli.parsers import EX_USAGE, Parser, flags
from gateway.log_format import configure
from gateway.settings import PREFIX, SettingsError

EX_UNAVAILABLE: Final = 69


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        check_build()
    except StaleBuild as error:
        say(str(error))
        return EX_UNAVAILABLE
    args = command_parser(words).parse_args(words)
    # Settings that cannot be read are reported in the format that they ask for, where that is clear.
    wants_json = (flags(args).get("log_format") or os.environ.get(f"{PREFIX}LOG_FORMAT")) == "json"
    configure("json" if wants_json else "text", "warning")
    try:
        return int(args.run(args))
    except SettingsError as error:
        for message in error.errors:
            fail(message)
        return EX_USAGE
    except KeyboardInterrupt:
        return 130


def command_parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of these words: of all commands, and with the options of the one that they name."""
    parser = Parser(
        prog="peakgate",
        description="The front door and the till of a shop: carts, checkout and orders behind one fast gateway.",
        epilog="example: peakgate serve --catalog examples/catalog.csv",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"peakgate {VERSION} ({MODE})")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    serve.add_parser(commands)
    config.add_parser(commands)
    catalog.add_parser(commands)
    stock.add_parser(commands)
    prices.add_parser(commands)
    coupons.add_parser(commands)
    orders.add_parser(commands)
    audit.add_parser(commands)
    store.add_parser(commands)
    webhooks.add_parser(commands)
    workflow.add_parser(commands)
    aws.add_parser(commands)
    privacy.add_parser(commands)
    review.add_parser(commands)
    replay.add_parser(commands, is_wanted=words[:1] == ["replay"])
    return parser
