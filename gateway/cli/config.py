"""`peakgate config check|show|schema|hash-key`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from gateway.cli.messages import say
from gateway.cli.parsers import Commands, Parser, add_settings, flags
from gateway.settings import OPTIONS, PREFIX, read


def add_parser(commands: Commands) -> None:
    """Add `config` and its verbs."""
    config = commands.add_parser(
        "config",
        help="check and show the configuration",
        description=(
            "The configuration file, peakgate.toml: settings at its top, read at the start, and tables of policies (limits,\n"
            "breakers, rooms, routes, switches, events), which SIGHUP or the admin API reads again."
        ),
        epilog="example: peakgate config check peakgate.toml",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = config.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    _add_check(verbs)
    _add_show(verbs)
    schema = verbs.add_parser(
        "schema",
        help="print the JSON Schema of the file",
        description="Print the JSON Schema (2020-12) of the file. Editors that know TOML schemas complete and check with it:\n"
        "put `#:schema ./peakgate.schema.json` on the first line of the file.",
        epilog="example: peakgate config schema > peakgate.schema.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    schema.set_defaults(run=_schema)
    _add_hash_key(verbs)


def _add_check(verbs: Commands) -> None:
    checking = verbs.add_parser(
        "check",
        help="say all that is wrong with a file",
        description=(
            "Say all that is wrong with a file, a line each: file, line, key, what is wrong and what would be right. Exit\n"
            "status 64 then, 0 if it is in order. Warnings, such as a route pattern that matches no route, change nothing."
        ),
        epilog="example: peakgate config check peakgate.toml && pkill -HUP -o -f 'peakgate serve'",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    checking.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        type=Path,
        default=os.environ.get(f"{PREFIX}CONFIG") or None,
        help=f"the file; {PREFIX}CONFIG or peakgate.toml here unless given",
    )
    checking.set_defaults(run=_check)


def _add_show(verbs: Commands) -> None:
    showing = verbs.add_parser(
        "show",
        help="print the effective configuration",
        description=(
            "Print the whole configuration that `peakgate serve` with the same options, variables and file would run with,\n"
            "as TOML. Beside each value stands where it comes from. Passwords and digests of keys are masked."
        ),
        epilog="example: PEAKGATE_PORT=9000 peakgate config show --config peakgate.toml",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_settings(showing, list(OPTIONS))
    showing.set_defaults(run=_show)


def _add_hash_key(verbs: Commands) -> None:
    hashing = verbs.add_parser(
        "hash-key",
        help="make the entry of an API key",
        description=(
            "Read an API key from standard input, or make a new one, and print its entry for the file. Only the digest\n"
            "is kept there; callers send the key itself as X-Api-Key. A new key is told on standard error, once."
        ),
        epilog="example: peakgate config hash-key --new --name partner >> peakgate.toml",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    hashing.add_argument("--name", default="partner", metavar="NAME", help="what to call the key (default: partner)")
    hashing.add_argument("--new", action="store_true", help="make a new key")
    hashing.set_defaults(run=_hash_key)


def _check(args: argparse.Namespace) -> int:
    from gateway.commands.config import check

    return check(args.file, say=say)


def _show(args: argparse.Namespace) -> int:
    from gateway.commands.config import show

    return show(read(flags(args), os.environ))


def _schema(_args: argparse.Namespace) -> int:
    from gateway.commands.config import print_schema

    return print_schema()


def _hash_key(args: argparse.Namespace) -> int:
    from gateway.commands.config import hash_key

    return hash_key(args.name, new=args.new, say=say)
