"""The command line: `peakgate serve`, `peakgate catalog import`, `peakgate replay`.

Exit codes: 0 success, 1 it did not work, 64 wrong usage or settings (sysexits.h). Each failure is one line on standard
error.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from importlib.metadata import version
from typing import Final, NoReturn, TypeAlias

from gateway.settings import PREFIX, Settings, SettingsError, load

EX_USAGE: Final = 64


class _Parser(argparse.ArgumentParser):
    """argparse, with our exit code and one line for what is wrong."""

    def error(self, message: str) -> NoReturn:
        self.exit(EX_USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")


# The string keeps it from being evaluated: at run time the class takes no parameter.
_Commands: TypeAlias = "argparse._SubParsersAction[_Parser]"  # noqa: SLF001 - argparse has no public name for it


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    args = _parser(words).parse_args(words)
    logging.basicConfig(level=logging.WARNING, format="peakgate[%(process)d]: %(levelname)s: %(message)s")
    try:
        return int(args.run(args))
    except SettingsError as error:
        for fault in error.faults:
            _say(fault)
        return EX_USAGE
    except KeyboardInterrupt:
        return 130


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="peakgate",
        description="The front door and the till of a shop: carts, checkout and orders behind one fast gateway.",
        epilog="example: peakgate serve --catalog examples/catalog.csv",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"peakgate {version('peakgate')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    _add_serve(commands)
    _add_catalog(commands)
    _add_replay(commands, is_wanted=words[:1] == ["replay"])
    return parser


def _add_serve(commands: _Commands) -> None:
    serve = commands.add_parser(
        "serve",
        help="run the gateway",
        description="Run the gateway: carts, checkout and the order worker, with an embedded store unless one is named.",
        epilog=(
            f"Every option is also a variable: --drain-timeout is {PREFIX}DRAIN_TIMEOUT. An option wins.\n"
            "Signals: TERM and INT stop after finishing what runs; USR1 replaces the workers one by one.\n\n"
            "example: peakgate serve --port 8080 --data-dir ./data --catalog examples/catalog.csv"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_settings(serve, [setting.name for setting in fields(Settings)])
    serve.set_defaults(run=_serve)


def _add_catalog(commands: _Commands) -> None:
    catalog = commands.add_parser("catalog", help="the products of the shop", description="The products of the shop.")
    verbs = catalog.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    importing = verbs.add_parser(
        "import",
        help="put the products of a file into the catalogue",
        description=(
            "Put every product of a CSV or JSON Lines file (sku,name,price,currency,stock) into the catalogue, also while\n"
            "the gateway runs. A price is in major units, such as 2.55; prices are in force within 2 s. Nothing is imported\n"
            "if a record is wrong, unless --skip-bad."
        ),
        epilog="example: peakgate catalog import examples/catalog.csv --data-dir ./data",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    importing.add_argument("file", metavar="FILE.csv|.jsonl")
    importing.add_argument(
        "--skip-bad", action="store_true", help="import the sound records of a file that has wrong ones"
    )
    _add_settings(importing, ["data_dir", "store_url"])
    importing.set_defaults(run=_import)


def _add_replay(commands: _Commands, *, is_wanted: bool) -> None:
    playing = commands.add_parser(
        "replay",
        help="play real baskets against a running gateway",
        description="Play the usable baskets of an Online Retail CSV (plain or .gz) against a running gateway, as shoppers do.",
        epilog="example: peakgate replay online-retail-2010-12.csv.gz --url http://127.0.0.1:8080 --concurrency 32",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if is_wanted:  # its HTTP client would add to the start-up time of every other command
        from benchmarks import replay

        replay.add_arguments(playing)
        playing.set_defaults(run=replay.run)


def _add_settings(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    """Add the flags of some settings. They stay text here: the settings report all faults at once."""
    for setting in fields(Settings):
        if setting.name not in names:
            continue
        shown = isinstance(setting.default, str | int | float | os.PathLike)
        default = f" (default: {setting.default})" if shown else ""
        flag = "--" + setting.name.replace("_", "-")
        metadata = setting.metadata
        parser.add_argument(flag, metavar=metadata["metavar"], help=(metadata["help"] + default).replace("%", "%%"))


def _settings(args: argparse.Namespace) -> Settings:
    return load({name: value for name, value in vars(args).items() if isinstance(value, str)}, os.environ)


def _serve(args: argparse.Namespace) -> int:
    from gateway.server.run import CannotServe, run

    try:
        return 0 if run(_settings(args), say=_say) else 1
    except CannotServe as error:
        _say(str(error))
        return 1


def _import(args: argparse.Namespace) -> int:
    from gateway.catalog_command import import_file

    return import_file(args.file, _settings(args), skip_bad=args.skip_bad, say=_say)


def _say(line: str) -> None:
    print(f"peakgate: {line}", file=sys.stderr, flush=True)
