"""`peakgate coupons …`."""

from __future__ import annotations

import argparse
from typing import Final

from cart.catalog.numbers import STOCK_MAX
from gateway.cli.messages import say
from gateway.cli.parsers import STORE_TLS, TIMES, Commands, Parser, finish, instant, positive, read_settings

_SETTINGS: Final = ("config", "data_dir", "store_url", *STORE_TLS, "currency", "log_format", "log_level")
_PAGE: Final = 1000


def add_parser(commands: Commands) -> None:
    """Add `coupons` and its verbs."""
    coupons = commands.add_parser(
        "coupons",
        help="offer coupons, look at them and end them",
        description=(
            "Offer coupons and change them, also while they are used. A coupon takes off a percentage, an amount or the\n"
            "shipping, and is never used more often than it may be. docs/prices.md has the rules.\n\n"
            "Exit status: 0 done, 1 refused or unknown, 64 wrong usage, 69 the store cannot be reached."
        ),
        epilog="example: peakgate coupons put SUMMER10 --name 'Summer: 10 % off' --percent 10 --uses 1000 --per-shopper 1",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = coupons.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    _add_put(verbs)
    _add_show(verbs)
    _add_list(verbs)
    _add_uses(verbs)
    _add_remove(verbs)


def _add_put(verbs: Commands) -> None:
    putting = verbs.add_parser(
        "put",
        help="offer a coupon, or change one",
        description=(
            "Offer a coupon, or change the rule of one that there is; the uses of that one stay. Amounts are in major units of\n"
            "the currency. It is safe to repeat."
        ),
        epilog="example: peakgate coupons put FIVER --name '5 off' --amount 5.00 --minimum 25.00 --until 2026-12-01T00:00Z",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    putting.add_argument("code", metavar="CODE")
    putting.add_argument("--name", required=True, metavar="TEXT", help="for shoppers, in carts and orders")
    putting.add_argument("--percent", metavar="PERCENT", help="taken off each line, such as 10 or 12.5")
    putting.add_argument("--amount", metavar="AMOUNT", help="taken off, such as 5.00")
    putting.add_argument("--free-shipping", action="store_true", help="the shipping is taken off")
    putting.add_argument("--minimum", metavar="AMOUNT", help="the least price of the goods")
    putting.add_argument("--from", dest="start", type=instant, default=0, metavar="TIME", help=f"such as {TIMES}")
    putting.add_argument("--until", type=instant, metavar="TIME", help="the first instant after it")
    putting.add_argument(
        "--sku", dest="skus", action="append", default=[], metavar="SKU", help="only of these; repeatable"
    )
    putting.add_argument(
        "--uses", type=_uses, metavar="COUNT", help="how often it may be used in all (default: no limit)"
    )
    putting.add_argument(
        "--per-shopper",
        type=positive(1_000_000),
        default=0,
        metavar="COUNT",
        help="how often by one shopper (default: no limit)",
    )
    finish(putting, _put, _SETTINGS, has_json=True)


def _add_show(verbs: Commands) -> None:
    showing = verbs.add_parser(
        "show",
        help="a coupon and its uses",
        description="Print a coupon, and its uses: left, held for checkouts, and in orders that are not completed.",
        epilog="example: peakgate coupons show SUMMER10",
    )
    showing.add_argument("code", metavar="CODE")
    finish(showing, _show, _SETTINGS, has_json=True)


def _add_list(verbs: Commands) -> None:
    listing = verbs.add_parser(
        "list",
        help="all coupons",
        description="Print the coupons by their codes.",
        epilog="example: peakgate coupons list --after SUMMER10",
    )
    listing.add_argument(
        "--limit", type=positive(_PAGE), default=100, metavar="COUNT", help="so many at most (default: 100)"
    )
    listing.add_argument("--after", default="", metavar="CODE", help="those behind this code")
    finish(listing, _list, _SETTINGS, has_json=True)


def _add_uses(verbs: Commands) -> None:
    changing = verbs.add_parser(
        "uses",
        help="change how often a coupon may still be used",
        description="Have so many uses of a coupon left, beside those in checkouts and orders, or so many more or fewer.",
        epilog="examples: peakgate coupons uses SUMMER10 --set 500; peakgate coupons uses SUMMER10 --add -100",
    )
    changing.add_argument("code", metavar="CODE")
    how = changing.add_mutually_exclusive_group(required=True)
    how.add_argument("--set", dest="set_to", type=_uses, metavar="COUNT")
    how.add_argument("--add", type=int, metavar="±COUNT")
    changing.add_argument("--key", metavar="KEY", help="repeated with the same key within 30 days, it is done once")
    finish(changing, _change_uses, _SETTINGS)


def _add_remove(verbs: Commands) -> None:
    removing = verbs.add_parser(
        "remove",
        help="end a coupon",
        description="End a coupon within two seconds. Carts that have it say so; orders that have it keep their discount.",
        epilog="example: peakgate coupons remove SUMMER10",
    )
    removing.add_argument("code", metavar="CODE")
    finish(removing, _remove, _SETTINGS)


def _put(args: argparse.Namespace) -> int:
    from gateway.commands.coupons import CouponTexts, put_coupon

    texts = CouponTexts(
        args.code,
        args.name,
        percent=args.percent,
        amount=args.amount,
        minimum=args.minimum,
        is_shipping_free=args.free_shipping,
        start=args.start,
        until=args.until,
        skus=args.skus,
        per_shopper=args.per_shopper,
    )
    return put_coupon(read_settings(args), texts, uses=args.uses, as_json=args.json, say=say)


def _show(args: argparse.Namespace) -> int:
    from gateway.commands.coupons import show_coupon

    return show_coupon(read_settings(args), args.code, as_json=args.json, say=say)


def _list(args: argparse.Namespace) -> int:
    from gateway.commands.coupons import list_coupons

    return list_coupons(read_settings(args), limit=args.limit, after=args.after, as_json=args.json, say=say)


def _change_uses(args: argparse.Namespace) -> int:
    from gateway.commands.coupons import change_uses

    return change_uses(read_settings(args), args.code, set_to=args.set_to, add=args.add, key=args.key, say=say)


def _remove(args: argparse.Namespace) -> int:
    from gateway.commands.coupons import remove_coupon

    return remove_coupon(read_settings(args), args.code, say=say)


def _uses(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) <= STOCK_MAX):
        raise argparse.ArgumentTypeError(f"must be a number from 0 to {STOCK_MAX:,}, not {text!r}")
    return int(text)
