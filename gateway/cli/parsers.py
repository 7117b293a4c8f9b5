"""The parser of each command, and the settings that a command takes as options."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NoReturn, TypeAlias

from gateway.log_format import configure
from gateway.settings import OPTIONS, Settings, load

EX_USAGE: Final = 64
# The files that a rediss:// store needs, of every command that opens the store.
STORE_TLS: Final = ("store_ca_file", "store_cert_file", "store_key_file")


class Parser(argparse.ArgumentParser):
    """argparse with our exit code and an error in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the error and end the program with the code of wrong usage."""
        self.exit(EX_USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")


# The string keeps it from being evaluated: at run time the class takes no parameter.
Commands: TypeAlias = "argparse._SubParsersAction[Parser]"  # noqa: SLF001 - argparse has no public name for it


def add_settings(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
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


def flags(args: argparse.Namespace) -> Mapping[str, str]:
    """The settings that are among the arguments, by their names, as text."""
    return {name: value for name, value in vars(args).items() if name in OPTIONS and value is not None}


def read_settings(args: argparse.Namespace) -> Settings:
    """The settings of a command, whose log lines have the format that they name from now on."""
    settings = load(flags(args), os.environ)
    configure(settings.log_format, settings.log_level)
    return settings


def positive(most: int) -> Callable[[str], int]:
    """The type of an argument that is a whole number from 1 to `most`."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"must be a number from 1 to {most:,}, not {text!r}")
        return int(text)

    return parse


TIMES: Final = "2026-11-27T06:00Z or 2026-11-27T07:00+01:00"


def instant(text: str) -> int:
    """The type of an argument that is a time with its offset, in Unix milliseconds."""
    from cart.catalog.price_periods import read_instant

    try:
        return read_instant(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a time with its offset, such as {TIMES}, not {text!r}") from None


def finish(parser: argparse.ArgumentParser, run: object, settings: Sequence[str], *, has_json: bool = False) -> None:
    """Add the options that a command has in common with others, and the function that runs it."""
    if has_json:
        parser.add_argument("--json", action="store_true", help="print JSON")
    add_settings(parser, settings)
    parser.set_defaults(run=run)
