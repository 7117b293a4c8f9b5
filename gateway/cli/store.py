"""`peakgate store report`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from gateway.cli.messages import say
from gateway.cli.parsers import STORE_TLS, Commands, Parser, add_settings, positive, read_settings

SETTINGS: Final = ("config", "data_dir", "store_url", *STORE_TLS, "log_format", "log_level")
_RATE: Final = 5000


def add_parser(commands: Commands) -> None:
    """Add `store` and its verb."""
    store = commands.add_parser(
        "store",
        help="look at the store",
        description="Look at the store: keys, bytes, hot keys and slow scripts. Nothing is changed.",
        epilog="example: peakgate store report",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    acts = store.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    report = acts.add_parser(
        "report",
        help="keys, bytes and growth by kind, hot keys and slow scripts",
        description=(
            "Report the keys and bytes of each kind (docs/store.md has the kinds), hot keys, the slowest scripts and the\n"
            "commands that take most time, also while the gateway runs. Bytes are estimated from some keys of each kind.\n"
            "A section that the user of the store may not ask for says so.\n\n"
            "Exit status: 0 done, 64 wrong usage, 69 the store cannot be reached."
        ),
        epilog=(
            "examples: peakgate store report --format json > monday.json\n"
            "          peakgate store report --since monday.json"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    report.add_argument(
        "--rate",
        type=positive(1_000_000),
        default=_RATE,
        metavar="COUNT",
        help="keys that are looked at a second, at most (default: 5000)",
    )
    report.add_argument(
        "--since", type=Path, metavar="FILE", help="an earlier report in JSON: the table shows the growth since then"
    )
    report.add_argument(
        "--format", choices=("text", "json"), default="text", help="tables, or JSON for programs (default: text)"
    )
    add_settings(report, SETTINGS)
    report.set_defaults(run=_report)


def _report(args: argparse.Namespace) -> int:
    from gateway.commands.store_report import report_store

    return report_store(read_settings(args), rate=args.rate, since=args.since, as_json=args.format == "json", say=say)
