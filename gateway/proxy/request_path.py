"""The path and query of a forwarded request, checked for everything that an upstream might read differently. Pure."""

from __future__ import annotations

import re
from typing import Final

from gateway.http.canonical_path import has_ambiguous_segment
from gateway.proxy.errors import AmbiguousRequest

# With no segment that begins with a dot, such a path needs no further check.
_PLAIN_PATH: Final = re.compile(r"/[A-Za-z0-9/._~!$&'()*+,:;@=-]*")
_VISIBLE: Final = re.compile(r"[!-~]*")
_DOT_SEGMENT: Final = re.compile(r"/(?:\.|%2e){1,2}(?=[/;]|$)", re.IGNORECASE)
# An encoded slash, backslash or control character.
_DISGUISED: Final = re.compile(r"%(?:2f|5c|[01][0-9a-f]|7f)", re.IGNORECASE)
# UTF-8 that is longer than needed, in which lenient decoders find a slash or a dot (RFC 3629, 10).
_OVERLONG: Final = re.compile(r"%(?:c[01]%[89ab]|e0%[89]|f0%8)[0-9a-f]", re.IGNORECASE)
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


def forwarded_path(path: str, query: str, prefix: str, strip_chars: int) -> str:
    """Path and query as the upstream gets them, without the first `strip_chars` of `prefix`. Raises `AmbiguousRequest`."""
    if "/." in path or not _PLAIN_PATH.fullmatch(path):
        check_path(path)
    if strip_chars:
        if path == prefix[:-1]:
            path = prefix  # a prefix serves its path without the slash as well
        if not path.startswith(prefix):
            raise AmbiguousRequest("a path outside its prefix")
        path = path[strip_chars:]
    if path.startswith("//"):
        raise AmbiguousRequest("a path that could be taken for an authority")
    if not query:
        return path
    if not query.isascii() or not query.isprintable() or " " in query or "#" in query:
        raise AmbiguousRequest("an invalid character in the query")
    return f"{path}?{query}"


def check_path(path: str) -> None:
    """Raise `AmbiguousRequest` for a path that an upstream might read differently."""
    if path[:1] != "/" or not _VISIBLE.fullmatch(path):
        raise AmbiguousRequest("an invalid character in the path")
    if "\\" in path or "#" in path or "?" in path:
        raise AmbiguousRequest("a character in the path that some servers take for a separator")
    if _DOT_SEGMENT.search(path) or has_ambiguous_segment(path):
        raise AmbiguousRequest("a path with dot segments, or encoded more than twice")
    if "%" in path and (_DISGUISED.search(path) or _BROKEN_ESCAPE.search(path) or _OVERLONG.search(path)):
        raise AmbiguousRequest("an encoded slash or control character, or an invalid encoding, in the path")
