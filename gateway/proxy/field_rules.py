"""Which header fields of a request are passed on to an upstream, which are dropped, and which are interpreted. Pure."""

from __future__ import annotations

import re
from typing import Final

from gateway.proxy.errors import AmbiguousRequest
from primitives.bounded_map import BoundedMap

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
# Hop-by-hop (RFC 9110, 7.6.1), for the gateway alone, or written anew.
_DROPPED: Final = frozenset(
    {
        "content-length",
        "expect",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "waiting-room-token",
        "x-api-key",
        "x-real-ip",
        "x-request-id",
    }
)
INTERPRETED: Final = frozenset(
    {
        "connection",
        "cookie",
        "forwarded",
        "host",
        "request-timeout-ms",
        "traceparent",
        "tracestate",
        "upgrade",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
    }
)
# Some servers take these for the requested address.
_REWRITES: Final = frozenset({"x-original-url", "x-rewrite-url"})
_MAX_REMEMBERED: Final = 4_000


class FieldRules:
    """Rules by field name as it was written, remembered because the same names come again and again.

    The rule of a field that is passed on is the beginning of its line, `Name: `, which ends in a space. The rule of a field
    that is dropped or interpreted is its name in lower case.
    """

    __slots__ = ("known",)

    def __init__(self) -> None:
        self.known: BoundedMap[str, str] = BoundedMap(_MAX_REMEMBERED)

    def learn(self, name: str) -> str:
        """The rule of a name that is not known yet. Raises `AmbiguousRequest`."""
        if not _TOKEN.fullmatch(name):
            raise AmbiguousRequest("an invalid field name")
        # A plain str: the parser's own type is slower to look up, and equal to it.
        name = str(name)
        lower = name.lower()
        # Many servers read `X_Forwarded_For` as `X-Forwarded-For` (RFC 3875, 4.1.18), so it is held back as well.
        read_as = lower.replace("_", "-")
        is_held_back = (
            read_as in _DROPPED or read_as in INTERPRETED or read_as in _REWRITES or read_as.startswith("x-forwarded-")
        )
        rule = lower if is_held_back else f"{name}: "
        self.known.put(name, rule)
        return rule
