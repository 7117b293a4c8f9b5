"""The id of a request: its W3C trace id, or one that no other process makes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from multidict import MultiMapping, istr

from primitives.tracing.context import parse_traceparent

# The length of an id of our own; a trace id is longer.
OWN_ID_LENGTH: Final = 16
_TRACEPARENT_FIELD: Final = istr("traceparent")


class RequestIds:
    """Ids no other process makes: eight hex digits of this process, random but for the last, then a count.

    A request that carries a W3C `traceparent` is known by its trace id instead, so that one id finds it everywhere.
    """

    def __init__(self, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        # The last digit is a letter (a, b, e or f): no id looks like a card number, which logs would mask.
        self._process = (int.from_bytes(random_bytes(4), "big") | 0xA).to_bytes(4, "big").hex()
        self._count = 0
        # The first 14 digits; the last two are looked up, which costs a fifth of formatting all.
        self._prefix = f"{self._process}000000"

    def of(self, headers: Mapping[str, str]) -> str:
        """The id of the request with these headers."""
        parent = headers.get(_TRACEPARENT_FIELD)
        if parent is not None and (found := parse_traceparent(parent)) is not None and _is_only(headers):
            return found.trace_id
        return self.next()

    def next(self) -> str:
        """The id of a request that carries none."""
        count = self._count = self._count + 1
        last = count & 255
        if not last:
            self._prefix = f"{self._process}{count >> 8:06x}"
        return self._prefix + _HEX[last]


def _is_only(headers: Mapping[str, str]) -> bool:
    """Whether there is one `traceparent`: several begin a new trace (W3C Trace Context)."""
    return not isinstance(headers, MultiMapping) or len(headers.getall(_TRACEPARENT_FIELD)) == 1


_HEX: Final[Sequence[str]] = [f"{number:02x}" for number in range(256)]
