"""`peakgate replay`."""

from __future__ import annotations

import argparse

from gateway.cli.parsers import Commands


def add_parser(commands: Commands, *, is_wanted: bool) -> None:
    """Add `replay`; its options only if it is the command to run."""
    playing = commands.add_parser(
        "replay",
        help="play real baskets against a running gateway",
        description="Play the usable baskets of an Online Retail CSV (plain or .gz) against a running gateway, as shoppers do.",
        epilog="example: peakgate replay online-retail-2010-12.csv.gz --url http://127.0.0.1:8080 --concurrency 32",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if is_wanted:  # its HTTP client would add to the start-up time of every other command
        from benchmarks.replay import command

        command.add_arguments(playing)
        playing.set_defaults(run=command.run)
