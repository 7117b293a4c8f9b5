"""The start-up check of aiohttp's HTTP parser: compiled, and of a version that the tests have run against."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

from aiohttp.http_parser import HttpRequestParser

# As in pyproject.toml; a test compares them. Of a newer minor version the parser may read the same bytes differently.
MIN_AIOHTTP: Final = (3, 14, 5)
BELOW_AIOHTTP: Final = (3, 15)
_COMPILED: Final = "aiohttp._http_parser"


class ParserUnusable(Exception):
    """Requests cannot be parsed with the aiohttp that is installed; the text has the reason and the remedy."""


def check_parser(installed: str | None = None, module: str = HttpRequestParser.__module__) -> None:
    """Raise `ParserUnusable` unless the installed aiohttp has the parser that this server was tested with."""
    installed = installed or version("aiohttp")
    if not MIN_AIOHTTP <= _numbers(installed) < BELOW_AIOHTTP:
        lowest, limit = (".".join(map(str, bound)) for bound in (MIN_AIOHTTP, BELOW_AIOHTTP))
        raise ParserUnusable(
            f"aiohttp {installed} is installed, but this server is tested with {lowest} up to and without {limit}; "
            f"run: pip install 'aiohttp>={lowest},<{limit}'"
        )
    if module != _COMPILED:
        raise ParserUnusable(
            "aiohttp runs without its C extensions; install its wheel, or build it with a compiler, "
            "and unset AIOHTTP_NO_EXTENSIONS"
        )


def _numbers(text: str) -> tuple[int, ...]:
    """The numbers of a version; a pre-release counts as untested."""
    parts = text.split(".")
    return tuple(map(int, parts)) if all(part.isascii() and part.isdigit() for part in parts) else ()
