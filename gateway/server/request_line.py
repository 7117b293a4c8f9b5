"""The request line: method and target, the target's path and query, and whether another reader may read it differently."""

from __future__ import annotations

import re
from typing import Final

from gateway.http.router import Match

# A backslash, a fragment, a malformed escape, an escaped NUL or backslash, and dot segments, escaped or not
# (RFC 3986, 5.2.4 and 6.2.2).
_AMBIGUOUS_PATH: Final = re.compile(
    r"[\\#]|%(?![0-9a-f]{2})|%00|%5c|(?:^|/)(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE | re.ASCII
)
_ABSOLUTE: Final = re.compile(r"https?://([^/?#]*)", re.IGNORECASE | re.ASCII)


class RequestLine:
    """A request line. It depends on its bytes alone, so one object serves all requests with the same line.

    `host` is that of an absolute target, in lower case. `route` is where the router of the server leads it, once it is known.
    """

    __slots__ = ("host", "is_ambiguous", "method", "path", "query", "route", "target")

    def __init__(self, method: str, target: str) -> None:
        path, query = split_target(target)
        self.method = method
        self.target = target
        self.path = path
        self.query = query
        match = None if target[:1] == "/" else _ABSOLUTE.match(target)
        self.host: str | None = None if match is None else match[1].lower()
        # `OPTIONS *` is the one request whose target has no path (RFC 9112, 3.2.4).
        self.is_ambiguous = (
            is_ambiguous_path(path) or "#" in query or (path[:1] != "/" and (method, target) != ("OPTIONS", "*"))
        )
        self.route: Match | None = None


def is_ambiguous_path(path: str) -> bool:
    """Whether a path, without its query, could be taken for another one. An escaped slash is no fault here: SKUs may have one."""
    # Four searches at C speed spare nearly every path the expression.
    if "%" in path or "/." in path or "\\" in path or "#" in path:
        return _AMBIGUOUS_PATH.search(path) is not None
    return False


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
