"""`peakgate stock …`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Final, get_args

from cart.catalog.numbers import STOCK_MAX
from cart.dates import read_date
from cart.model import MAX_HOLD_AT_CART_S, SoldAhead
from gateway.cli.messages import say
from gateway.cli.parsers import STORE_TLS, Commands, Parser, finish, positive, read_settings

_SETTINGS: Final = ("config", "data_dir", "store_url", *STORE_TLS, "log_format", "log_level")
_MAX_HOLDS: Final = 1000
# Of a term that is not given; None is its default.
_UNCHANGED: Final = object()


def add_parser(commands: Commands) -> None:
    """Add `stock` and its verbs."""
    stock = commands.add_parser(
        "stock",
        help="look at the stock of products and correct it",
        description=(
            "Look at the units of products and correct them, also while they are sold: units are for sale, held for a\n"
            "checkout, or sold in an order. There is one location for all of them. docs/stock.md has the life of a unit.\n\n"
            "Exit status: 0 done, 1 refused or not in the catalogue, 64 wrong usage, 69 the store cannot be reached."
        ),
        epilog="example: peakgate stock add 85123A 12",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = stock.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    _add_show(verbs)
    _add_set(verbs)
    _add_add(verbs)
    _add_holds(verbs)
    _add_terms(verbs)


def _add_show(verbs: Commands) -> None:
    showing = verbs.add_parser(
        "show",
        help="units for sale, held and sold",
        description="Print the units of products: for sale, held for checkouts, and sold in orders not completed yet.",
        epilog="example: peakgate stock show 85123A 22423",
    )
    showing.add_argument("skus", nargs="+", metavar="SKU")
    finish(showing, _show, _SETTINGS, has_json=True)


def _add_set(verbs: Commands) -> None:
    setting = verbs.add_parser(
        "set",
        help="have so many units for sale from now on",
        description=(
            "Have so many units of a product for sale from now on, beside those that are held and sold. To count many\n"
            "products, import a file with the columns sku and stock."
        ),
        epilog="example: peakgate stock set 85123A 100",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    setting.add_argument("sku", metavar="SKU")
    setting.add_argument("units", type=_units, metavar="UNITS")
    _add_key(setting)
    finish(setting, _set, _SETTINGS, has_json=True)


def _add_add(verbs: Commands) -> None:
    adding = verbs.add_parser(
        "add",
        help="add units for sale, or take some away",
        description=(
            "Add units of a product, such as a delivery, or take some away, such as breakage. No more are taken away than\n"
            "are for sale: units in checkouts and orders are promised."
        ),
        epilog="examples: peakgate stock add 85123A 12; peakgate stock add 85123A -2 --key breakage-17",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    adding.add_argument("sku", metavar="SKU")
    adding.add_argument("units", type=_change, metavar="±UNITS")
    _add_key(adding)
    finish(adding, _add, _SETTINGS, has_json=True)


def _add_holds(verbs: Commands) -> None:
    listing = verbs.add_parser(
        "holds",
        help="the orders that hold units",
        description="Print the orders and checkouts that hold units of a product, in no particular order.",
        epilog="example: peakgate stock holds 85123A --limit 500",
    )
    listing.add_argument("sku", metavar="SKU")
    listing.add_argument(
        "--limit", type=positive(_MAX_HOLDS), default=100, metavar="COUNT", help="about so many (default: 100)"
    )
    listing.add_argument("--cursor", metavar="CURSOR", help="continue behind the page that printed it")
    finish(listing, _holds, _SETTINGS, has_json=True)


def _add_terms(verbs: Commands) -> None:
    changing = verbs.add_parser(
        "terms",
        help="the terms on which a product is sold, and changes of them",
        description="Print the terms on which a product is sold, after a change of those that are given; none is the default.",
        epilog="example: peakgate stock terms 85123A --per-shopper 2 --sold-ahead backorder --available-on 2026-12-20",
    )
    changing.add_argument("sku", metavar="SKU")
    changing.add_argument(
        "--per-shopper",
        type=_limit,
        default=_UNCHANGED,
        metavar="UNITS|none",
        help="the most units for one shopper (--per-shopper-days of serve)",
    )
    changing.add_argument(
        "--sold-ahead",
        type=_or_none(_sold_ahead),
        default=_UNCHANGED,
        metavar="backorder|preorder|none",
        help="sell units beyond the stock",
    )
    changing.add_argument(
        "--ahead-limit",
        type=_limit,
        default=_UNCHANGED,
        metavar="UNITS|none",
        help="the most units that are sold beyond the stock",
    )
    changing.add_argument(
        "--available-on",
        type=_or_none(_date),
        default=_UNCHANGED,
        metavar="DATE|none",
        help="the day about which units that are sold ahead come, such as 2026-12-20",
    )
    changing.add_argument(
        "--hold-at-cart",
        type=_seconds,
        default=_UNCHANGED,
        metavar="SECONDS|none",
        help=f"how long the units of a cart's line are held, up to {MAX_HOLD_AT_CART_S}",
    )
    finish(changing, _terms, _SETTINGS, has_json=True)


def _add_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--key",
        metavar="KEY",
        help="a name for this correction: repeated with the same key within 30 days, it is made once",
    )


def _show(args: argparse.Namespace) -> int:
    from gateway.commands.stock import show_stock

    return show_stock(read_settings(args), args.skus, as_json=args.json, say=say)


def _set(args: argparse.Namespace) -> int:
    from gateway.commands.stock import set_stock

    return set_stock(read_settings(args), args.sku, args.units, key=args.key, as_json=args.json, say=say)


def _add(args: argparse.Namespace) -> int:
    from gateway.commands.stock import add_stock

    return add_stock(read_settings(args), args.sku, args.units, key=args.key, as_json=args.json, say=say)


def _holds(args: argparse.Namespace) -> int:
    from gateway.commands.stock import list_holds

    return list_holds(read_settings(args), args.sku, limit=args.limit, cursor=args.cursor, as_json=args.json, say=say)


def _terms(args: argparse.Namespace) -> int:
    from cart.catalog.term_desk import STOCK_TERMS
    from gateway.commands.stock import show_terms

    changes = {name: value for name in STOCK_TERMS if (value := getattr(args, name)) is not _UNCHANGED}
    return show_terms(read_settings(args), args.sku, changes, as_json=args.json, say=say)


def _units(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= STOCK_MAX):
        raise argparse.ArgumentTypeError(f"must be a whole number of units from 0 to {STOCK_MAX:,}, not {text!r}")
    return int(text)


def _limit(text: str) -> int | None:
    return None if text == "none" else positive(STOCK_MAX)(text)


def _seconds(text: str) -> int | None:
    return None if text == "none" else positive(MAX_HOLD_AT_CART_S)(text)


def _or_none(read: Callable[[str], str]) -> Callable[[str], str | None]:
    return lambda text: None if text == "none" else read(text)


def _sold_ahead(text: str) -> str:
    if text not in get_args(SoldAhead):
        raise argparse.ArgumentTypeError(f"must be backorder, preorder or none, not {text!r}")
    return text


def _date(text: str) -> str:
    try:
        return read_date(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a date such as 2026-12-20, not {text!r}") from None


def _change(text: str) -> int:
    sign, digits = (text[0], text[1:]) if text[:1] in {"+", "-"} else ("", text)
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 20 and 0 < int(digits) <= STOCK_MAX):
        raise argparse.ArgumentTypeError(f"must be a whole number of units such as 12 or -2, not {text!r}")
    return int(sign + digits)
