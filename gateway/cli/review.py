"""`peakgate review`."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from gateway.cli.messages import say
from gateway.cli.parsers import EX_USAGE, Commands, add_settings, instant, read_settings


def add_parser(commands: Commands) -> None:
    """Add `review`."""
    review = commands.add_parser(
        "review",
        help="write the review of a time as one HTML file",
        description=(
            "Write the review of a time, such as the day of a sale, as one HTML file: performance, cost, security and the acts of\n"
            "operators. It reads access logs, plain or .gz, and the audit log of the data directory; it calls nothing. Where the\n"
            "configuration has lines sampled, a line counts for those that were left out.\n\n"
            "Exit status: 0 done, 64 wrong usage, 66 a log cannot be read, 73 the page cannot be written."
        ),
        epilog="example: peakgate review 2026-11-27T00:00Z 2026-11-28T00:00Z --access-log access.log --price-per-hour 4.20",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    review.add_argument("start", type=instant, metavar="FROM", help="the first moment, with its offset")
    review.add_argument("end", type=instant, metavar="TO", help="the moment after the last")
    review.add_argument(
        "--access-log",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="an access log of the time; may be given again",
    )
    review.add_argument(
        "--acts", type=Path, metavar="FILE", help="the audit log (default: acts.jsonl of the data directory)"
    )
    review.add_argument(
        "--price-per-hour", type=float, metavar="AMOUNT", help="of all that ran, for the cost of an order"
    )
    review.add_argument("--currency", default="USD", metavar="CODE", help="of the price (default: USD)")
    review.add_argument(
        "--output", type=Path, default=Path("review.html"), metavar="FILE", help="(default: review.html)"
    )
    add_settings(review, ("config", "data_dir"))
    review.set_defaults(run=_review)


def _review(args: argparse.Namespace) -> int:
    from gateway.commands.review import write_review
    from gateway.commands.review_page import Price

    if args.end <= args.start:
        say("TO must be later than FROM")
        return EX_USAGE
    settings = read_settings(args)
    acts = args.acts or settings.data_dir / "acts.jsonl"
    log = settings.policies.access_log
    price = None if args.price_per_hour is None else Price(args.price_per_hour, args.currency)
    start, end = (datetime.fromtimestamp(each / 1000, UTC) for each in (args.start, args.end))
    return write_review(
        start, end, access_logs=args.access_log, log=log, acts=acts, price=price, output=args.output, say=say
    )
