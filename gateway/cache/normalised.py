"""Values of request fields that select the same response, in one spelling (RFC 9111, 4.1)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

# Lists of names with weights: case and order do not matter (RFC 9110, 12.5), among equal weights neither.
_PREFERENCES: Final = frozenset({"accept", "accept-charset", "accept-encoding", "accept-language"})
# In quotes and comments blanks count.
_HAS_TEXT: Final = re.compile(r'["(]')
_AROUND_COMMAS: Final = re.compile(r"[ \t]*,[ \t]*")
_WEIGHT: Final = re.compile(r"[ \t]*;[ \t]*q[ \t]*=[ \t]*([01](?:\.[0-9]{0,3})?)[ \t]*", re.ASCII | re.IGNORECASE)
# A value that is longer is not remembered: clients choose it.
_MAX_REMEMBERED: Final = 200


def normalised(name: str, value: str) -> str:
    """The value of a field (its name in lower case) without differences that mean nothing."""
    return _remembered(name, value) if len(value) <= _MAX_REMEMBERED else _normalise(name, value)


def _normalise(name: str, value: str) -> str:
    value = value.strip(" \t")
    if _HAS_TEXT.search(value) is not None:
        return value
    elements = [element for element in _AROUND_COMMAS.split(value) if element]
    if name in _PREFERENCES:
        elements = sorted([_preference(element) for element in elements])
    return ",".join(elements)


@lru_cache(maxsize=2_048)  # browsers send few different values
def _remembered(name: str, value: str) -> str:
    return _normalise(name, value)


def _preference(element: str) -> str:
    """A name, its parameters, and its weight in one form."""
    found = _WEIGHT.search(element)
    if found is None:
        weight, rest = 1.0, element
    else:
        weight, rest = float(found[1]), element[: found.start()] + element[found.end() :]
    name, semicolon, parameters = rest.partition(";")
    named = f"{name.strip().lower()}{semicolon}{parameters.strip()}"
    return named if weight == 1.0 else f"{named};q={weight:g}"
