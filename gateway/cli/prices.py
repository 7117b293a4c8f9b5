"""`peakgate prices …`."""

from __future__ import annotations

import argparse
from typing import Final

from gateway.cli.messages import say
from gateway.cli.parsers import STORE_TLS, TIMES, Commands, Parser, finish, instant, read_settings

_SETTINGS: Final = (
    *("config", "data_dir", "store_url", *STORE_TLS, "search", "search_url", "log_format", "log_level"),
)


def add_parser(commands: Commands) -> None:
    """Add `prices` and its verbs."""
    prices = commands.add_parser(
        "prices",
        help="look at the prices of products, set and schedule them",
        description=(
            "Look at the prices of products and change them, also while they are sold. A scheduled price holds in place of the\n"
            "ordinary one from its start to its end, and changes at one instant everywhere. docs/prices.md has the rules.\n\n"
            "Exit status: 0 done, 1 refused or not in the catalogue, 64 wrong usage, 69 the store or the search cannot be\n"
            "reached."
        ),
        epilog="example: peakgate prices schedule 85123A 1.99 --from 2026-11-27T06:00Z --until 2026-11-28T06:00Z",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = prices.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    _add_show(verbs)
    _add_set(verbs)
    _add_schedule(verbs)
    _add_event(verbs)
    _add_clear(verbs)


def _add_show(verbs: Commands) -> None:
    showing = verbs.add_parser(
        "show",
        help="the ordinary and the scheduled prices",
        description="Print the ordinary price of products and their scheduled ones, and which of them holds now.",
        epilog="example: peakgate prices show 85123A 22423",
    )
    showing.add_argument("skus", nargs="+", metavar="SKU")
    finish(showing, _show, _SETTINGS, has_json=True)


def _add_set(verbs: Commands) -> None:
    setting = verbs.add_parser(
        "set",
        help="set the ordinary price",
        description="Set the ordinary price of a product, in major units of its currency. Scheduled prices stay.",
        epilog="example: peakgate prices set 85123A 2.95",
    )
    setting.add_argument("sku", metavar="SKU")
    setting.add_argument("price", metavar="PRICE")
    finish(setting, _set, _SETTINGS, has_json=True)


def _add_schedule(verbs: Commands) -> None:
    scheduling = verbs.add_parser(
        "schedule",
        help="have a price hold for a time",
        description="Have a price of a product, in major units of its currency, hold from a start to an end.",
        epilog="example: peakgate prices schedule 85123A 1.99 --from 2026-11-27T06:00Z --until 2026-11-28T06:00Z",
    )
    scheduling.add_argument("sku", metavar="SKU")
    scheduling.add_argument("price", metavar="PRICE")
    _add_time(scheduling)
    finish(scheduling, _schedule, _SETTINGS, has_json=True)


def _add_event(verbs: Commands) -> None:
    event = verbs.add_parser(
        "event",
        help="schedule the prices of a file for one time",
        description=(
            "Have the prices of a CSV file (sku,price and perhaps currency), in major units, hold from a start to an end: all of\n"
            "them, or none if a record is wrong. It is safe to repeat."
        ),
        epilog="example: peakgate prices event friday.csv --from 2026-11-27T06:00Z --until 2026-11-28T06:00Z",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    event.add_argument("file", metavar="FILE.csv")
    _add_time(event)
    event.add_argument(
        "--decimal-comma", action="store_true", help="a comma stands before decimals, as in 2,55 (default: a point)"
    )
    finish(event, _event, _SETTINGS)


def _add_clear(verbs: Commands) -> None:
    clearing = verbs.add_parser(
        "clear",
        help="remove all scheduled prices of products",
        description="Remove all scheduled prices of products: the ordinary prices hold within two seconds.",
        epilog="example: peakgate prices clear 85123A 22423",
    )
    clearing.add_argument("skus", nargs="+", metavar="SKU")
    finish(clearing, _clear, _SETTINGS)


def _add_time(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="start", type=instant, required=True, metavar="TIME", help=f"such as {TIMES}")
    parser.add_argument("--until", type=instant, required=True, metavar="TIME", help="the first instant after it")
    parser.add_argument(
        "--replace", action="store_true", help="remove scheduled prices that overlap with it (default: refuse it then)"
    )


def _show(args: argparse.Namespace) -> int:
    from gateway.commands.prices import show_prices

    return show_prices(read_settings(args), args.skus, as_json=args.json, say=say)


def _set(args: argparse.Namespace) -> int:
    from gateway.commands.prices import set_price

    return set_price(read_settings(args), args.sku, args.price, as_json=args.json, say=say)


def _schedule(args: argparse.Namespace) -> int:
    from gateway.commands.prices import schedule_price

    times = {"start": args.start, "until": args.until, "replace": args.replace}
    return schedule_price(read_settings(args), args.sku, args.price, **times, as_json=args.json, say=say)


def _event(args: argparse.Namespace) -> int:
    from gateway.commands.prices import schedule_event

    times = {"start": args.start, "until": args.until, "replace": args.replace}
    return schedule_event(read_settings(args), args.file, **times, mark="," if args.decimal_comma else ".", say=say)


def _clear(args: argparse.Namespace) -> int:
    from gateway.commands.prices import clear_prices

    return clear_prices(read_settings(args), args.skus, say=say)
