"""`peakgate catalog import` and `remove`."""

from __future__ import annotations

import argparse
from typing import Final

from gateway.cli.messages import say
from gateway.cli.parsers import STORE_TLS, Commands, Parser, add_settings, read_settings

_SETTINGS: Final = (
    *("config", "data_dir", "store_url", *STORE_TLS, "search", "search_url", "log_format", "log_level"),
)


def add_parser(commands: Commands) -> None:
    """Add `catalog` and its verbs."""
    catalog = commands.add_parser("catalog", help="the products of the shop", description="The products of the shop.")
    verbs = catalog.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    importing = verbs.add_parser(
        "import",
        help="put the products of a file into the catalogue",
        description=(
            "Put every product of a CSV or JSON Lines file (sku,name,price,currency,stock,category, terms) into the catalogue,\n"
            "also while the gateway runs. A price is in major units, such as 2.55; prices are in force within 2 s. Nothing is imported\n"
            "if a record is wrong, unless --skip-bad. A file may have some of the columns, such as sku,price,currency. The\n"
            "stock of products that are in the catalogue stays as it is, except by a file of sku,stock alone, which counts it."
        ),
        epilog="example: peakgate catalog import examples/catalog.csv --data-dir ./data",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    importing.add_argument("file", metavar="FILE.csv|.tsv|.jsonl")
    importing.add_argument(
        "--skip-bad", action="store_true", help="import the sound records of a file that has wrong ones"
    )
    importing.add_argument(
        "--delimiter",
        type=_delimiter,
        metavar="CHARACTER",
        help="the character between columns, or tab (default: that of , ; | and tab which the header has)",
    )
    importing.add_argument(
        "--decimal-comma", action="store_true", help="a comma stands before decimals, as in 2,55 (default: a point)"
    )
    importing.add_argument(
        "--encoding",
        default="utf-8",
        metavar="NAME",
        help="the encoding of a file without a byte-order mark, such as cp1252 (default: utf-8)",
    )
    add_settings(importing, _SETTINGS)
    importing.set_defaults(run=_import)
    removing = verbs.add_parser(
        "remove",
        help="take products out of the catalogue",
        description=(
            "Take products out of the catalogue and its searches, also while the gateway runs; within 2 s they cannot be bought any\n"
            "more. Orders that hold some of them are not affected. SKUs that are not in the catalogue are ignored."
        ),
        epilog="example: peakgate catalog remove 85123A 71053 --data-dir ./data",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    removing.add_argument("skus", metavar="SKU", nargs="+")
    add_settings(removing, _SETTINGS)
    removing.set_defaults(run=_remove)


def _import(args: argparse.Namespace) -> int:
    from cart.catalog.files import FileForm
    from gateway.commands.catalog import import_file

    form = FileForm(args.delimiter, "," if args.decimal_comma else ".", args.encoding)
    return import_file(args.file, read_settings(args), form, skip_bad=args.skip_bad, say=say)


def _remove(args: argparse.Namespace) -> int:
    from gateway.commands.catalog import remove

    return remove(args.skus, read_settings(args), say=say)


def _delimiter(text: str) -> str:
    """The character that an option names."""
    character = "\t" if text in {"tab", "\\t"} else text
    if len(character) != 1 or character.isalnum() or character in ' "\r\n':
        raise argparse.ArgumentTypeError(
            f"must be one character that is no letter, digit, blank or quote, not {text!r}"
        )
    return character
