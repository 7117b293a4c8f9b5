"""The id of a request: its W3C trace id, or one that no other process makes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from multidict import MultiMapping, istr

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
        if parent is not None and (trace_id := _trace_id(parent)) and _is_only(headers):
            return trace_id
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


def _trace_id(traceparent: str) -> str | None:
    """The trace id of `00-<32 hex digits>-<16 hex digits>-<2 hex digits>` (W3C Trace Context), None if it is not that."""
    found = _TRACEPARENT.fullmatch(traceparent)
    # Versions to come may carry more.
    if found is None or (found["more"] and found["version"] == "00"):
        return None
    return found["trace"]


_HEX: Final[Sequence[str]] = [f"{number:02x}" for number in range(256)]
# Version ff is forbidden, and so are ids of nothing but zeros.
_TRACEPARENT: Final = re.compile(
    r"(?P<version>(?!ff)[0-9a-f]{2})-(?P<trace>(?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?P<more>-.*)?"
)
