"""Parse `Cache-Control` directives (RFC 9111, 5.2). Malformed values count against reuse."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from gateway.cache.model import Fields

# RFC 9111, 1.2.2: a larger number counts as this one.
MAX_SECONDS: Final = 2**31
# An argument of the wrong form: the directive counts, its number does not.
_INVALID: Final = ""

# Pieces between commas; a comma inside a well-formed quoted string does not separate.
_ELEMENTS: Final = re.compile(r'(?:[^,"]|(?<==)"(?:[^"\\]|\\.)*"(?=[ \t]*(?:,|$))|")+')
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def directives(values: Iterable[str]) -> Mapping[str, str | None]:
    """The directives of all `Cache-Control` lines: names in lower case, arguments without quotes, None without one.

    Both forms of argument are accepted (5.2). A directive with two different arguments, or with an invalid character,
    has the argument `""`, which is not a number (4.2.1: such a response is best considered stale). Its name counts all
    the same, so that no `private` is overlooked.
    """
    return _directives(",".join(values))


@lru_cache(maxsize=1_024)  # an origin sends few different values
def _directives(field: str) -> Mapping[str, str | None]:
    found: dict[str, str | None] = {}
    for element in _ELEMENTS.findall(field):
        name, sign, argument = element.strip(" \t").partition("=")
        token = _TOKEN.match(name)
        if token is None:
            continue
        value = _unquoted(argument) if sign else None
        if token.end() != len(name):
            value = _INVALID
        name = token[0].lower()
        found[name] = value if found.get(name, value) == value else _INVALID
    return MappingProxyType(found)


def _unquoted(argument: str) -> str:
    if argument[:1] != '"':
        return argument if _TOKEN.fullmatch(argument) else _INVALID
    if len(argument) < 2 or argument[-1] != '"':
        return _INVALID
    return re.sub(r"\\(.)", r"\1", argument[1:-1])


def seconds_of(found: Mapping[str, str | None], name: str, *, absent: float, malformed: float = 0.0) -> float:
    """The seconds of a directive."""
    if name not in found:
        return absent
    number = seconds(found[name])
    return malformed if number is None else float(number)


def seconds(argument: str | None) -> int | None:
    """Delta-seconds (1.2.2), at most 2^31; None if the argument is not such a number."""
    if not argument or not (argument.isascii() and argument.isdigit()):
        return None
    digits = argument.lstrip("0")
    return MAX_SECONDS if len(digits) > 10 else min(int(digits or "0"), MAX_SECONDS)


def single(fields: Fields, name: str) -> str | None:
    """The value of a field; None if it is absent or has values that differ."""
    values = fields.get(name)
    return values[0] if values is not None and len(set(values)) == 1 else None
