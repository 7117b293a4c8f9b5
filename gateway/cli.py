"""The command line: `peakgate serve`, `peakgate config …`, `peakgate catalog import`, `peakgate replay`.

Exit codes: 0 success, 1 it did not work, 64 wrong usage or settings (sysexits.h). Each failure is one line on standard
error.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn, TypeAlias

from gateway.build import MODE, VERSION, StaleBuild, check_build
from gateway.log_format import COMMAND_LOGGER, configure, is_json
from gateway.settings import OPTIONS, PREFIX, Settings, SettingsError, load, read

EX_USAGE: Final = 64
EX_UNAVAILABLE: Final = 69
_log = logging.getLogger(COMMAND_LOGGER)


class _Parser(argparse.ArgumentParser):
    """argparse with our exit code and an error in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(EX_USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")


# The string keeps it from being evaluated: at run time the class takes no parameter.
_Commands: TypeAlias = "argparse._SubParsersAction[_Parser]"  # noqa: SLF001 - argparse has no public name for it


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        check_build()
    except StaleBuild as error:
        _say(str(error))
        return EX_UNAVAILABLE
    args = _parser(words).parse_args(words)
    # Settings that cannot be read are reported in the format that they ask for, where that is clear.
    wants_json = (_flags(args).get("log_format") or os.environ.get(f"{PREFIX}LOG_FORMAT")) == "json"
    configure("json" if wants_json else "text", "warning")
    try:
        return int(args.run(args))
    except SettingsError as error:
        for message in error.errors:
            _fail(message)
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
    parser.add_argument("--version", action="version", version=f"peakgate {VERSION} ({MODE})")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    _add_serve(commands)
    _add_config(commands)
    _add_catalog(commands)
    _add_replay(commands, is_wanted=words[:1] == ["replay"])
    return parser


def _add_serve(commands: _Commands) -> None:
    serve = commands.add_parser(
        "serve",
        help="run the gateway",
        description="Run the gateway: carts, checkout and the order worker, with an embedded store unless one is named.",
        epilog=(
            f"Every option is also a variable, {PREFIX}DRAIN_TIMEOUT for --drain-timeout, and a key of the configuration\n"
            "file, drain_timeout: an option wins over a variable, a variable over the file.\n"
            "Signals: TERM and INT stop after finishing what runs; HUP reads the policies of the file again; USR1 replaces\n"
            "the workers one by one.\n\n"
            "example: peakgate serve --port 8080 --data-dir ./data --catalog examples/catalog.csv"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_settings(serve, list(OPTIONS))
    serve.set_defaults(run=_serve)


def _add_config(commands: _Commands) -> None:
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
    verbs = config.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    _add_config_check(verbs)
    _add_config_show(verbs)
    schema = verbs.add_parser(
        "schema",
        help="print the JSON Schema of the file",
        description="Print the JSON Schema (2020-12) of the file. Editors that know TOML schemas complete and check with it:\n"
        "put `#:schema ./peakgate.schema.json` on the first line of the file.",
        epilog="example: peakgate config schema > peakgate.schema.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    schema.set_defaults(run=_config_schema)
    _add_config_hash_key(verbs)


def _add_config_check(verbs: _Commands) -> None:
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
    checking.set_defaults(run=_config_check)


def _add_config_show(verbs: _Commands) -> None:
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
    _add_settings(showing, list(OPTIONS))
    showing.set_defaults(run=_config_show)


def _add_config_hash_key(verbs: _Commands) -> None:
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
    hashing.set_defaults(run=_config_hash_key)


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
    _add_settings(importing, ["config", "data_dir", "store_url", "log_format", "log_level"])
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
        from benchmarks.replay import command

        command.add_arguments(playing)
        playing.set_defaults(run=command.run)


def _add_settings(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    """Add the flags of some settings. They stay text here: the settings report all errors at once."""
    for name, setting in OPTIONS.items():
        if name not in names:
            continue
        shown = isinstance(setting.default, str | int | float | os.PathLike)
        default = f" (default: {_in_words(setting.default)})" if shown else ""
        flag = "--" + name.replace("_", "-")
        metadata = setting.metadata
        parser.add_argument(flag, metavar=metadata["metavar"], help=(metadata["help"] + default).replace("%", "%%"))


def _in_words(default: object) -> str:
    """A default as it would be typed."""
    return ("yes" if default else "no") if isinstance(default, bool) else str(default)


def _flags(args: argparse.Namespace) -> Mapping[str, str]:
    return {name: value for name, value in vars(args).items() if name in OPTIONS and value is not None}


def _settings(args: argparse.Namespace) -> Settings:
    """The settings of a command, whose log lines have the format that they name from now on."""
    settings = load(_flags(args), os.environ)
    configure(settings.log_format, settings.log_level)
    return settings


def _serve(args: argparse.Namespace) -> int:
    # SIGHUP would end the process before it starts; the supervisor handles it as soon as it can.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    from gateway.process.serve import CannotServe, run

    try:
        return 0 if run(_settings(args), say=_say) else 1
    except CannotServe as error:
        _fail(str(error))
        return 1


def _config_check(args: argparse.Namespace) -> int:
    from gateway.commands.config import check

    return check(args.file, say=_say)


def _config_show(args: argparse.Namespace) -> int:
    from gateway.commands.config import show

    return show(read(_flags(args), os.environ))


def _config_schema(_args: argparse.Namespace) -> int:
    from gateway.commands.config import print_schema

    return print_schema()


def _config_hash_key(args: argparse.Namespace) -> int:
    from gateway.commands.config import hash_key

    return hash_key(args.name, new=args.new, say=_say)


def _import(args: argparse.Namespace) -> int:
    from gateway.commands.catalog import import_file

    return import_file(args.file, _settings(args), skip_bad=args.skip_bad, say=_say)


def _say(line: str, level: int = logging.INFO) -> None:
    """Say a line to whoever has started the command; where log lines are JSON, it is one of them."""
    if is_json():
        _log.log(level, "%s", line)
    else:
        print(f"peakgate: {line}", file=sys.stderr, flush=True)


def _fail(line: str) -> None:
    _say(line, logging.ERROR)
