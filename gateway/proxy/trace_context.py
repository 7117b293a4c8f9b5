"""`traceparent` and `tracestate` of a forwarded request (W3C Trace Context)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

_LEADING_ONE: Final = 1 << 32
_TRACEPARENT: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-((?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?"
)


# A member of `tracestate` (3.3.1): a key, or tenant and system, and a value without commas and equals signs.
_KEY: Final = r"[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13}"
_MEMBER: Final = re.compile(rf"(?:{_KEY})=[ !-+\--<>-~]{{0,255}}[!-+\--<>-~]")
_MAX_MEMBERS: Final = 32
# Sampled and random; other flags are set to 0 (3.2.2.5).
_KNOWN_FLAGS: Final = 0x03
_FLAGS: Final[dict[str, str]] = {f"{flags:02x}": f"{flags & _KNOWN_FLAGS:02x}" for flags in range(256)}


class TraceContext:
    """Continues the trace of a request with a span of the gateway, or starts one that ends in the request id."""

    __slots__ = ("_process", "_span", "_trace")

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        # Span ids: eight random digits of this process, then a count.
        self._process = random_bytes(4).hex()
        self._trace = random_bytes(8).hex()
        self._span = 0

    def lines(self, request_id: str, fields: Mapping[str, str]) -> str:
        """The finished lines, with `X-Request-Id`. A valid `tracestate` is passed on with a valid `traceparent` only."""
        self._span = (self._span + 1) & 0xFFFFFFFF
        # `hex` with a leading one, cut off: compiled code renders `:08x` through the slow `format`.
        span = self._process + hex(_LEADING_ONE + self._span)[3:]
        parent = fields.get("traceparent")
        if parent is not None:
            found = _TRACEPARENT.fullmatch(parent)
            # Later versions may have more fields; they are continued as version 00.
            if found is not None and not (found[4] and found[1] == "00"):
                state = fields.get("tracestate")
                state_line = f"tracestate: {state}\r\n" if state and is_trace_state(state) else ""
                flags = _FLAGS[found[3]]
                return f"X-Request-Id: {request_id}\r\ntraceparent: 00-{found[2]}-{span}-{flags}\r\n{state_line}"
        trace = request_id if len(request_id) == 32 else self._trace + request_id[:16].rjust(16, "0")
        return f"X-Request-Id: {request_id}\r\ntraceparent: 00-{trace}-{span}-00\r\n"


def is_trace_state(text: str) -> bool:
    """Whether it is a `tracestate`: 1 to 32 members, of which several lines of the field are one list."""
    members = [member.strip(" \t") for member in text.split(",")]
    found = [member for member in members if member]
    return 0 < len(found) <= _MAX_MEMBERS and all(_MEMBER.fullmatch(member) is not None for member in found)
