"""Ambiguous requests: a request that could be read in two ways is rejected and its connection closed.

aiohttp's parser rejects malformed framing and fields. This module checks hosts and repeated fields that it accepts and that
an upstream, a cache or a balancer may read differently (RFC 9110, 4.2 and 17.1; RFC 9112, 3.2 and 6.1); targets are
checked in `request_line`.
"""

from __future__ import annotations

import re
from typing import Final

from multidict import MultiMapping, istr

from gateway.server.request_line import RequestLine

# RFC 3986, 3.2.2 and 3.2.3: a name, an IPv4 address or an IPv6 address in brackets, and a port.
_HOST: Final = re.compile(r"(?:[\w.~!$&'()*+,;=%-]+|\[[0-9a-f:.]+\])(?::\d{0,5})?", re.IGNORECASE | re.ASCII)
# One reader takes the first of several, another the last. aiohttp checks Host, Content-Type and the framing of bodies.
_SINGLE: Final = (istr("Authorization"), istr("X-Api-Key"), istr("Waiting-Room-Token"))
_SINGLE_IN_WRITES: Final = (istr("If-Match"), istr("Idempotency-Key"))
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def is_host(text: str) -> bool:
    """Whether it is a valid Host field; an empty one names nothing (RFC 9110, 4.2.1).

    aiohttp has rejected requests without the field, and with two.
    """
    return _HOST.fullmatch(text) is not None


def has_duplicate_header(method: str, headers: MultiMapping[str]) -> bool:
    """Whether a request says more than once who makes it, or under which condition it changes something."""
    names = _SINGLE if method in _READS else _SINGLE + _SINGLE_IN_WRITES
    return any(len(headers.getall(name, ())) > 1 for name in names)


def is_smuggling_risk(line: RequestLine, headers: MultiMapping[str]) -> bool:
    """Whether a request that was parsed leaves its client, resource or host open. Framing is checked in `http1`."""
    if line.is_ambiguous or has_duplicate_header(line.method, headers):
        return True
    if line.host is None:
        return False
    host = headers.get("Host")
    return not is_host(line.host) or (host is not None and line.host != host.lower())
