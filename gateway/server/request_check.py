"""Ambiguous requests: a request that could be read in two ways is rejected and its connection closed.

aiohttp's parser rejects malformed framing and fields. This module checks targets and hosts that it accepts and that
an upstream, a cache or a balancer may read differently (RFC 3986, 5.2.4 and 6.2.2; RFC 9110, 4.2 and 17.1; RFC 9112, 3.2 and 6.1).
"""

from __future__ import annotations

import re
from typing import Final

from multidict import MultiMapping, istr

# A backslash, a fragment, a malformed escape, an escaped NUL or backslash, and dot segments, escaped or not.
_AMBIGUOUS_PATH: Final = re.compile(
    r"[\\#]|%(?![0-9a-f]{2})|%00|%5c|(?:^|/)(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE | re.ASCII
)
# RFC 3986, 3.2.2 and 3.2.3: a name, an IPv4 address or an IPv6 address in brackets, and a port.
_HOST: Final = re.compile(r"(?:[\w.~!$&'()*+,;=%-]*|\[[0-9a-f:.]+\])(?::\d{0,5})?", re.IGNORECASE | re.ASCII)
# One reader takes the first of several, another the last. aiohttp checks Host, Content-Type and the framing of bodies.
_AUTHORIZATION: Final = istr("Authorization")
_API_KEY: Final = istr("X-Api-Key")
_ROOM_TOKEN: Final = istr("Waiting-Room-Token")
_IDEMPOTENCY_KEY: Final = istr("Idempotency-Key")
_IF_MATCH: Final = istr("If-Match")
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_ABSOLUTE: Final = re.compile(r"https?://([^/?#]*)", re.IGNORECASE | re.ASCII)


def is_ambiguous_path(path: str) -> bool:
    """Whether a path, without its query, could be taken for another one. An escaped slash is no fault here: SKUs may have one."""
    # Four searches at C speed spare nearly every path the expression.
    if "%" in path or "/." in path or "\\" in path or "#" in path:
        return _AMBIGUOUS_PATH.search(path) is not None
    return False


def is_host(text: str) -> bool:
    """Whether it is a valid Host field. aiohttp has rejected requests without one, and with two."""
    return _HOST.fullmatch(text) is not None


def has_duplicate_header(method: str, headers: MultiMapping[str]) -> bool:
    """Whether a request says more than once who makes it, or under which condition it changes something."""
    # Written out: each costs 20 ns where it is absent, and a loop would double that.
    if _AUTHORIZATION in headers and len(headers.getall(_AUTHORIZATION)) > 1:
        return True
    if _API_KEY in headers and len(headers.getall(_API_KEY)) > 1:
        return True
    if _ROOM_TOKEN in headers and len(headers.getall(_ROOM_TOKEN)) > 1:
        return True
    if method in _READS:
        return False
    if _IF_MATCH in headers and len(headers.getall(_IF_MATCH)) > 1:
        return True
    return _IDEMPOTENCY_KEY in headers and len(headers.getall(_IDEMPOTENCY_KEY)) > 1


def is_smuggling_risk(method: str, target: str, path: str, query: str, headers: MultiMapping[str]) -> bool:
    """Whether the head of a request leaves its client, resource or host open.

    `path` and `query` are those of the request target. Framing is checked where it is read, in `http1`.
    """
    if has_duplicate_header(method, headers) or is_ambiguous_path(path) or "#" in query:
        return True
    if target[:1] == "/":
        return False
    if target == "*":
        return method != "OPTIONS"
    match = _ABSOLUTE.match(target)
    if match is None:
        return True
    host = headers.get("Host")
    return host is not None and match[1].lower() != host.lower()


def split_target(target: str) -> tuple[str, str]:
    """Path and query of a request target; of `http://host/path` (RFC 9112, 3.2.2) the part behind the host."""
    if target[:1] != "/":
        match = _ABSOLUTE.match(target)
        if match is not None:
            target = target[match.end() :]
            if target[:1] != "/":
                target = "/" + target
    path, _, query = target.partition("?")
    return path, query
