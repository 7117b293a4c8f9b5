"""W3C Trace Context (https://www.w3.org/TR/trace-context/): `traceparent` and `tracestate`, read strictly."""

from __future__ import annotations

import re
from typing import Final

_TRACEPARENT: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-((?!0{32})[0-9a-f]{32})-((?!0{16})[0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
# A member of `tracestate` (3.3.1): a key, or tenant and system, and a value without commas and equals signs.
_KEY: Final = r"[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13}"
_MEMBER: Final = re.compile(rf"(?:{_KEY})=[ !-+\--<>-~]{{0,255}}[!-+\--<>-~]")
_MAX_MEMBERS: Final = 32
# A queue carries so much of it: the least that every participant must pass on (3.3.1.5).
MAX_CARRIED_STATE: Final = 512
_SAMPLED: Final = 0x01


class TraceParent:
    """The span that a caller names as the parent: the ids in lower-case hex, and the flags."""

    __slots__ = ("flags", "span_id", "trace_id")

    def __init__(self, trace_id: str, span_id: str, flags: str) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.flags = flags

    @property
    def is_sampled(self) -> bool:
        """Whether the caller records the trace."""
        return bool(int(self.flags, 16) & _SAMPLED)


def parse_traceparent(text: str) -> TraceParent | None:
    """The parent that a `traceparent` names; None if it is malformed.

    Version ff is forbidden, and so are ids of nothing but zeros. Later versions may have more fields; they are read as
    version 00.
    """
    found = _TRACEPARENT.fullmatch(text)
    if found is None or (found[5] and found[1] == "00"):
        return None
    return TraceParent(found[2], found[3], found[4])


def is_trace_state(text: str) -> bool:
    """Whether it is a `tracestate`: 1 to 32 members, of which several lines of the field are one list."""
    members = [member.strip(" \t") for member in text.split(",")]
    found = [member for member in members if member]
    return 0 < len(found) <= _MAX_MEMBERS and all(_MEMBER.fullmatch(member) is not None for member in found)


def carried_state(text: str | None) -> str:
    """A `tracestate` that is valid and short enough to be carried along; "" for any other."""
    return text if text and len(text) <= MAX_CARRIED_STATE and is_trace_state(text) else ""
